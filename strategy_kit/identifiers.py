"""Identifiers of merchants and buyers, looked up as Arrow holds them: pandas' own index makes a Python object of each text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def places(keys: pd.Series | pd.Index, among: pd.Index) -> np.ndarray:
    """Return the place of each key among differing ones, -1 for strangers.

    Examples
    --------
    >>> import pandas as pd
    >>> places(pd.Series(["m2", "m9", "m1"]), pd.Index(["m1", "m2"])).tolist()
    [1, -1, 0]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pa.array(among)
    return np.asarray(pc.fill_null(pc.index_in(pa.array(keys).cast(known.type), value_set=known), -1), dtype=np.intp)


def all_differ(keys: pd.Index) -> bool:
    """Tell whether no key repeats.

    Examples
    --------
    >>> import pandas as pd
    >>> all_differ(pd.Index(["m1", "m2"])), all_differ(pd.Index(["m1", "m1"]))
    (True, False)
    """
    return len(keys.array.unique()) == len(keys)
