"""The tests, in folders that mirror the packages; a package itself, so that no stray `tests` elsewhere shadows it."""
