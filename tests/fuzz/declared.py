"""What a maker declares, as hostile input: their file, records and statement of it, and a model card."""

from __future__ import annotations

import hashlib
import json

import rfc8785
from graded import Graded

from certify.assessment.assessment import profile_of
from certify.assessments.declarations.assessment import Declarations
from certify.assessments.declarations.card import from_card
from certify.assessments.declarations.declaration import CLAUSES, FORMAT, Declaration, parse_declaration
from certify.assessments.declarations.questions import QUESTIONS
from certify.assessments.declarations.writing import write_declaration
from certify.attest.certificate import Certificate
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import SigningKey
from certify.attest.statements import records_path, statement_path
from certify.workflows.declaration import declare

CARD = b"""---
license: mit
---
# Net
## Uses
### Direct Use
Sorting *letters* by `code`.
### Out-of-Scope Use
- credit
- <b>policing</b>
## Bias, Risks, and Limitations
[More Information Needed]
| a | b |
|---|---|
| 1 | 2 |
### Testing Data
Letters of [2019](http://example.org).
"""


class Declared:
    """A graded model with declarations beside it, of which one file is replaced by a hostile one.

    Args:
        home: the graded folder.
    """

    def __init__(self, home: Graded) -> None:
        self.home = home.copy(home.folder.parent / "declared", without=("label.svg",))  # which no lie would match
        values: dict[str, object] = {"declaration": FORMAT}
        for one in QUESTIONS:
            one.put(values, one.choices[-1] if one.choices else ["x", "y"] if one.many else f"On {one.head.lower()}.")
        values["safe_face"] = {number: {"answer": "yes", "text": "x", "evidence": "y"} for number in CLAUSES}
        values["signed_by"] = [{"name": "Ada", "role": "maker"}]
        self.file = write_declaration(Declaration.from_json(values)).encode()
        source = home.folder.parent / "words.yaml"
        source.write_bytes(self.file)
        declare(self.home.model, source, signer=self.home.key)
        self.path = statement_path(self.home.folder, Declarations.name)
        self.records = records_path(self.path).read_bytes()
        self.statement = parse_envelope(self.path.read_bytes()).payload

    @property
    def key(self) -> SigningKey:
        return self.home.key

    def lay(self, payload: bytes, records: bytes) -> None:
        """Put a statement that its maker signed, and records, beside the model."""
        self.path.write_bytes(sign(payload, self.key).to_bytes())
        records_path(self.path).write_bytes(records)

    def accepts(self, payload: bytes, records: bytes) -> bool:
        """Whether verification finds nothing against the statement and derived all of it again."""
        self.lay(payload, records)
        found = self.home.verify()
        found.to_json()
        return found.valid and found.derived

    def read_file(self, content: bytes) -> Declaration:
        """The maker's file: read, judged, and written again."""
        declared = parse_declaration(content, "declarations.yaml")
        if parse_declaration(write_declaration(declared).encode(), "again") != declared:
            raise AssertionError("declarations are not read again as they were written")
        return declared

    def judge_file(self, content: bytes) -> Certificate | None:
        """The maker's file, signed beside the model; None where it is not a file of declarations."""
        self.read_file(content)
        path = self.home.folder.parent / "hostile.yaml"
        path.write_bytes(content)
        return declare(self.home.model, path, signer=self.key)

    def judge_records(self, content: bytes) -> None:
        """Records that nobody signed, judged as they would be."""
        room = Declarations()
        edition = room.load_edition("2026")
        room.outcome(profile_of(room, room.parse(content, "records"), edition), edition)

    def sign_records(self, content: bytes) -> bool:
        """Records under a statement that binds them; whether both are accepted."""
        statement = json.loads(self.statement)
        statement["predicate"]["evidence"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        return self.accepts(rfc8785.dumps(statement), content)

    def read_card(self, content: bytes) -> None:
        """A model card from anywhere."""
        self.read_file(write_declaration(from_card(content, "README.md")).encode())
