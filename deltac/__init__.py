"""deltac: a compiler for delta-tuning. Names are loaded on first use, so that `import deltac` is light."""

__version__ = "0.1.0"
