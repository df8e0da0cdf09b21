"""Train as ``attention-unet train`` does: ``python train.py --config configs/phantom.yaml``."""

import sys

from attention_unet.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
