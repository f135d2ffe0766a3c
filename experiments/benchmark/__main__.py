"""`python -m experiments.benchmark`: this project against PyTorch."""

from aejax import cli
from experiments.benchmark.against_pytorch import Config, main

if __name__ == "__main__":
    cli.run(main, Config)
