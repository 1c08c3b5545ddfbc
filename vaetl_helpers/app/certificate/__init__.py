"""What somebody has solved, on a page and as PDF; signed by an instructor, or self-checked."""

from vaetl_helpers.app.certificate.pages import write_certificate
from vaetl_helpers.app.certificate.signature import Verified, key_pair, sign, verify
from vaetl_helpers.app.certificate.statement import Solved, Statement, own_statement

__all__ = [
    "Solved",
    "Statement",
    "Verified",
    "key_pair",
    "own_statement",
    "sign",
    "verify",
    "write_certificate",
]
