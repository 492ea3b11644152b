"""A golden suite on disk: load it strictly, check it line by line, describe it, import and export it.

Nothing is imported here, so that `aigate.goldens.jsonlines` costs no more than the `json` module.
"""
