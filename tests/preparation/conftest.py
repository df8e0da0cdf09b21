import pytest

from attention_unet.preparation import patches


@pytest.fixture(autouse=True)
def changed_from_the_first_patch(monkeypatch):
    """Change patches as often as configured from the first one on, so that few patches show what a change does."""
    monkeypatch.setattr(patches, "FULL_AFTER", 1e-9)
