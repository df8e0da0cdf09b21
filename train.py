"""Train an attention U-Net: ``python train.py --config configs/phantom.yaml``, as ``attention-unet train``."""

import sys

from attention_unet.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
