"""Make `zoo_core/data/digits.npz` from scikit-learn's copy of the UCI digits.

python tools/make_digits.py            # needs scikit-learn; the package itself does not
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parents[1] / "zoo_core" / "data" / "digits.npz"


def main() -> None:
    digits = load_digits()
    x = digits.images.astype(np.uint8)  # (1797, 8, 8), 0..16
    assert np.array_equal(x, digits.images) and x.max() == 16
    np.savez_compressed(TARGET, x=x, y=digits.target.astype(np.uint8))
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
