"""Run one experiment, or a sweep with -m: ``python run.py inverter=fpi dataset=scenes``.

Every key is in conf/ and listed by ``python run.py --help``; results go to outputs/.
"""

from pathlib import Path

from fpinv.run.console import start

if __name__ == "__main__":
    start(Path(__file__).parent / "conf")
