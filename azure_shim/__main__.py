"""``python -m azure_shim``, which is ``azure-shim``."""

from azure_shim.cli import main

if __name__ == "__main__":
    main(name="python -m azure_shim")
