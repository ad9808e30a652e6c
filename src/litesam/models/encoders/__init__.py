"""Image encoders, one module each: ``forward(x (B, 3, S, S)) -> {name: (B, C, h, w)}``."""
