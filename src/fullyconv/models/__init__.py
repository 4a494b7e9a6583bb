"""Networks: layer geometry, the layers FCN adds, backbones, and the one FCN class."""
