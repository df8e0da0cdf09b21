"""Specifications of attention, as in a configuration, and the modules that they stand for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import yaml

from attention_unet.attention.base import Attention, Place
from attention_unet.attention.controls import Template
from attention_unet.attention.mechanisms import CONTROLS, WRAPPERS, find_mechanism
from attention_unet.attention.options import Value, check_options
from attention_unet.attention.wrappers import MultiScale

# A name; a name with options, such as {"se": {"reduction": 4}}; a list of specifications, applied in sequence; or a
# wrapper with its content, and its option as a second key, such as {"parallel": ["se", "sse"], "combine": "add"}.
Spec = str | Sequence[Any] | Mapping[str, Any]

HOLDERS = WRAPPERS | CONTROLS  # these contain other mechanisms

# What a wrapper holds if only its name is given.
CONTENT: dict[str, Spec] = {
    "sequential": ["se", "spatial"],
    "parallel": ["se", "sse"],
    "residual": "spatial",
    "recursive": "gate",
    "multiscale": "spatial",
}


def build_at(spec: Spec, place: Place) -> Attention:
    """Build a mechanism from its specification. Raise ValueError if that is wrong: see ``build``."""
    if isinstance(spec, str):
        return _build_wrapper(spec, CONTENT[spec], {}, place) if spec in WRAPPERS else _build_named(spec, {}, place)
    if isinstance(spec, Mapping):
        return _build_mapping(spec, place)
    if not isinstance(spec, Sequence) or not spec:
        raise ValueError(f"expected the name of an attention mechanism, a list of names or a mapping, got {spec!r}")
    return build_at(spec[0], place) if len(spec) == 1 else _build_wrapper("sequential", spec, {}, place)


def write_spec(spec: Spec) -> str:
    """Return a specification as one line of YAML."""
    return spec if isinstance(spec, str) else yaml.safe_dump(spec, default_flow_style=True, width=1e6).strip()


def with_option(name: str, option: str, value: Value) -> Spec:
    """Return the specification of a name with one option; a wrapper keeps the content that its name stands for."""
    return {name: CONTENT[name], option: value} if name in WRAPPERS else {name: {option: value}}


def _build_named(name: str, options: Mapping[str, Any], place: Place) -> Attention:
    mechanism = find_mechanism(name)
    return mechanism(place, **check_options(mechanism, name, options))


def _build_mapping(spec: Mapping[str, Any], place: Place) -> Attention:
    """Build a name with options, or a wrapper with its content and its option."""
    wrappers = [key for key in spec if key in HOLDERS]
    if len(wrappers) == 1 and all(isinstance(key, str) for key in spec):
        name = wrappers[0]
        return _build_wrapper(name, spec[name], {key: spec[key] for key in spec if key != name}, place)
    if len(spec) != 1 or not isinstance(next(iter(spec)), str) or not isinstance(next(iter(spec.values())), Mapping):
        raise ValueError(
            "expected a name with options, as {se: {reduction: 4}}, one wrapper with its content "
            f"({', '.join(HOLDERS)}), or, for skips and blocks, a mapping from level numbers; got {dict(spec)}"
        )
    name, options = next(iter(spec.items()))
    return _build_named(name, options, place)


def _build_wrapper(name: str, content: Spec, values: Mapping[str, Any], place: Place) -> Attention:
    place = replace(place, classes=None)  # only a mechanism that stands alone learns which classes there are
    wrapper: Any = HOLDERS[name]
    options = check_options(wrapper, name, values)
    parts = [content] if isinstance(content, str | Mapping) else content
    if not isinstance(parts, Sequence) or not parts:
        raise ValueError(f"expected a mechanism or a list of mechanisms in {name}, got {content!r}")
    if name == "multiscale":
        return MultiScale(lambda: build_at(content, place), **options)
    if name in ("sequential", "parallel"):
        return wrapper([build_at(part, place) for part in parts], **options)
    inner = build_at(content, place)
    return Template(place, inner) if name == "template" else wrapper(inner, **options)
