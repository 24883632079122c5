"""Text that the tests of executed records compare with a tolerance for its decimals."""

import math
import re

# A decimal with six significant digits cannot change in any digit by less than this, and
# test_records.py keeps longer ones out of the records: every printed digit is compared.
RELATIVE_TOLERANCE = 5e-7
DECIMAL = re.compile(
    r"(?<![\w.])[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE][-+]?\d))(?:[eE][-+]?\d+)?(?!\w)(?!\.\d)"
)


class NumericText(str):
    """Text that equals another if the decimals are close and all else is the same."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        """Compare decimals with a relative tolerance; integers and words to the letter."""
        if not isinstance(other, str):
            return NotImplemented
        if str.__eq__(self, other):
            return True
        mine, yours = (DECIMAL.findall(str(text)) for text in (self, other))
        return (
            DECIMAL.split(str(self)) == DECIMAL.split(str(other))
            and len(mine) == len(yours)
            and all(
                math.isclose(float(a), float(b), rel_tol=RELATIVE_TOLERANCE)
                for a, b in zip(mine, yours, strict=True)
            )
        )

    def __ne__(self, other: object) -> bool:
        """Negate the comparison above, which `str` would not."""
        return not self == other

    __hash__ = None
