"""Training: runs in folders, the loop, checkpoints, and the devices and data that they use."""

import lazy_loader

# One import line for a program of one's own; what is not used is not imported.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["RunConfig"],
        "devices": ["make_mesh"],
        "loop": ["fit", "train"],
        "runs": ["open_run"],
        "splits": ["load_splits", "open_feed"],
    },
)
