"""`turnlog schema`: the event contract as JSON Schema."""

import sys

from common.contract.schema import contract_document


def schema() -> None:
    """Print the event contract as JSON Schema (committed as docs/contract/v1.schema.json)."""
    sys.stdout.write(contract_document())
