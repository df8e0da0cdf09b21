"""``python -m attention_unet`` is ``attention-unet``."""

import sys

from attention_unet.cli import main

sys.exit(main())
