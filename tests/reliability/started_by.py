"""Run `attention-unet` with a given start method of workers: python -m tests.reliability.started_by spawn train ..."""

import multiprocessing
import sys

from attention_unet.cli import main

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
