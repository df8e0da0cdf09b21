"""Segment a scan with an exported network: ``python onnx_predict.py mine.onnx scan.nii.gz mask.nii.gz``.

Needs numpy, nibabel and onnxruntime only; neither torch nor attention_unet. It follows docs/own_program.md step by
step, for 3-D networks, so that it can be translated into other languages.
"""

import itertools
import json
import sys

import nibabel as nib
import numpy as np
import onnxruntime


def axes_along(affine, stack):
    """Return the axis of the scan along each axis of the network, whether it is reversed, and whether slices are thick.

    This is step 1.
    """
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    thick = int(sizes.argmax())
    if stack and sizes[thick] >= 1.998 * np.delete(sizes, thick).max():
        cosines = np.array(stack["directions"]) @ (affine[:3, :3] / sizes)
        if abs(cosines[stack["axis"], thick]) >= 0.27:
            orders = [order for order in itertools.permutations(range(3)) if order[stack["axis"]] == thick]
            order = max(orders, key=lambda order: abs(cosines[range(3), order]).sum())
            return list(order), cosines[range(3), order] < 0, True
    nearest = nib.io_orientation(affine)
    order = nearest[:, 0].argsort()
    return list(order), nearest[order, 1] < 0, False


def linear_matrix(positions, voxels):
    """Return how much each voxel of an axis counts at each position, (positions, voxels): linear interpolation."""
    return np.clip(1 - np.abs(np.clip(positions, 0, voxels - 1)[:, None] - np.arange(voxels)), 0, None)


def mean_matrix(positions, voxels, width):
    """Return how much each voxel of an axis counts in the mean over ``width`` voxels around each position."""
    low, high = positions[:, None] - width / 2, positions[:, None] + width / 2
    edges = np.arange(voxels) - 0.5
    shares = np.clip(np.minimum(high, edges + 1) - np.maximum(low, edges), 0, None)
    return shares / shares.sum(axis=1, keepdims=True)


def mix(array, axis, matrix):
    """Resample an axis of an array."""
    return np.moveaxis(np.tensordot(matrix, np.moveaxis(array, axis, 0), 1), 0, axis)


def outside_background(channel):
    """Return which voxels are no background: step 3."""
    faces = np.concatenate([np.take(channel, end, axis).ravel() for axis in range(3) for end in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    value = values[counts.argmax()]
    brighter, darker, fills = channel > value, channel < value, (channel == value).mean() >= 0.1
    dark = brighter.sum() >= 2 * darker.sum()
    if 2 * counts.max() <= faces.size or not (dark or (fills and 3 * brighter.sum() >= darker.sum())):
        return channel > channel.min()
    return brighter if dark else brighter | darker


def standardise(channel, nonzero):
    """Subtract the mean and divide by the standard deviation; ``nonzero``: of the voxels that are not 0."""
    used = channel != 0 if nonzero else np.ones(channel.shape, bool)
    if not used.any():
        return channel
    spread = channel[used].std() or 1
    return np.where(used, (channel - channel[used].mean()) / spread, 0)


def normalise(channel, nonzero):
    """Bring a channel to mean 0 and standard deviation 1; spikes are clipped."""
    channel = standardise(channel, nonzero)
    for _ in range(3):
        if abs(channel).max() > 25:
            channel = standardise(channel.clip(-25, 25), nonzero)
    return channel


def starts_of(size, window, overlap):
    """Return the first voxels of equally spaced windows along an axis."""
    count = 1 + max(0, int(np.ceil((size - window) / max(window * (1 - overlap), 1))))
    return [round(i * (size - window) / (count - 1)) for i in range(count)] if count > 1 else [0]


def predict_windows(session, image, patch, overlap, stack_axis):
    """Return probabilities (classes, I, J, K) of an image (C, I, J, K), averaged over its windows."""
    missing = [max(0, window - size) for window, size in zip(patch, image.shape[1:])]
    pads = [(total // 2, total - total // 2) for total in missing]
    slices = [pad if axis == stack_axis else (0, 0) for axis, pad in enumerate(pads)]
    others = [(0, 0) if axis == stack_axis else pad for axis, pad in enumerate(pads)]
    padded = np.pad(np.pad(image, [(0, 0), *slices], mode="edge"), [(0, 0), *others]).astype(np.float32)
    weights = np.ones(())
    for window in patch:
        distance = (np.arange(window) - (window - 1) / 2) / (window / 8)
        weights = weights[..., None] * np.exp(-(distance**2) / 2)
    weights = np.maximum(weights / weights.max(), 1e-3)
    total, weight = 0, np.zeros(padded.shape[1:])
    for corner in itertools.product(*(starts_of(n, p, overlap) for n, p in zip(padded.shape[1:], patch))):
        box = tuple(slice(first, first + window) for first, window in zip(corner, patch))
        (found,) = session.run(None, {"window": padded[(slice(None), *box)][None]})
        total = np.zeros((found.shape[1], *padded.shape[1:])) if weight.max() == 0 else total
        total[(slice(None), *box)] += found[0] * weights
        weight[box] += weights
    kept = tuple(slice(before, before + n) for (before, _), n in zip(pads, image.shape[1:]))
    return (total / weight)[(slice(None), *kept)]


def segment(model, scan):
    """Return the mask of a scan, an image of nibabel, with the network in an ONNX file."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    facts = {name: json.loads(texts[name]) for name in ("plan", "labels", "overlap")}
    plan, way = facts["plan"], facts["plan"]["preprocessing"]
    stack = way["stack"]
    if 1 in plan["patch"]:
        raise SystemExit("this example is for 3-D networks")

    affine, pixdim = scan.affine.copy(), scan.header["pixdim"][1:4].astype(float)
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    differ = scan.header["sform_code"] > 0 and not np.allclose(edges, pixdim, rtol=0.01, atol=0)
    if differ and np.allclose(edges, 1, rtol=0.001, atol=0):  # an sform of directions alone
        affine[:3, :3] *= pixdim / edges
    order, reverse, thick = axes_along(affine, stack)
    turned = tuple(slice(None, None, -1 if against else 1) for against in reverse)
    image = np.asarray(scan.dataobj, dtype=np.float64)
    image = np.moveaxis(image, -1, 0) if image.ndim == 4 else image[None]
    image = image.transpose(0, *(1 + axis for axis in order))[(slice(None), *turned)]
    if len(image) != len(plan["channels"]):
        raise SystemExit(f"the scan has {len(image)} channels, the network {len(plan['channels'])}: make one 4-D file")
    image = np.stack([np.where(np.isfinite(c), c, c[np.isfinite(c)].min()) for c in image])
    unit_mm = {1: 1000.0, 3: 0.001}.get(int(scan.header["xyzt_units"]) % 8, 1.0)  # metre, micrometre, else mm
    grid, voxel_mm = image.shape[1:], unit_mm * np.linalg.norm(affine[:3, :3], axis=0)[order]
    steps = np.round(np.array(way["spacing_mm"]) / voxel_mm, 6)
    if thick and 0.45 < steps[stack["axis"]] < 2.2:  # thick slices stay as they are
        steps[stack["axis"]] = 1
    steps = np.where(np.abs(steps - 1) * grid < 0.001, 1, steps)  # less than a thousandth of a voxel over the scan
    share = (image != 0).astype(np.float64)
    for axis, (n, step) in enumerate(zip(grid, steps)):
        if step != 1:
            positions = np.arange(round((n - 1) / step + 1)) * step
            matrix = mean_matrix(positions, n, step) if step > 1 else linear_matrix(positions, n)
            image, share = mix(image, 1 + axis, matrix), mix(share, 1 + axis, matrix)
    if way["nonzero"]:
        image = np.where(share >= 0.49999, image / np.maximum(share, 0.49999), 0)

    kept = np.any([outside_background(channel) for channel in image], axis=0)
    if not kept.any():
        raise SystemExit("the scan is the same everywhere")
    first, last = np.argwhere(kept).min(axis=0), np.argwhere(kept).max(axis=0)
    image = image[(slice(None), *(slice(low, high + 1) for low, high in zip(first, last)))]
    image = np.stack([normalise(channel, way["nonzero"]) for channel in image])

    stack_axis = stack["axis"] if stack else None
    probabilities = predict_windows(session, image, plan["patch"], facts["overlap"], stack_axis)

    inside = np.ones((1, 1, 1), bool)
    for axis, (n, step) in enumerate(zip(grid, steps)):
        positions, size = np.arange(n) / step - first[axis], image.shape[1 + axis]
        shape = [n if other == axis else 1 for other in range(3)]
        inside = inside & ((positions >= -0.5) & (positions <= size - 0.5)).reshape(shape)
        probabilities = mix(probabilities, 1 + axis, linear_matrix(positions, size))
    integers = [label["integer"] for label in facts["labels"]]
    mask = np.zeros(grid, np.uint32)
    if len(probabilities) == len(integers):  # overlapping classes: later ones are written over earlier ones
        for value, probability in zip(integers, probabilities):
            mask[probability > 0.5] = value
    else:
        mask = np.array([0, *integers], np.uint32)[probabilities.argmax(axis=0)]
    mask[~np.broadcast_to(inside, grid)] = 0
    mask = mask[turned].transpose(np.argsort(order)).astype(np.min_scalar_type(max(integers)))
    result = nib.Nifti1Image(mask, affine)
    result.header["xyzt_units"] = scan.header["xyzt_units"]
    return result


if __name__ == "__main__":
    nib.save(segment(sys.argv[1], nib.load(sys.argv[2])), sys.argv[3])
