"""Signatures through sigstore: the adapter, against stand-ins for the package's own objects."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from certify.attest.certificate import Certificate
from certify.attest.keyless import BUNDLE_NAME, sign_keyless, verify_keyless
from certify.attest.keys import SigningKey
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.errors import CertificateError, MissingExtra, UsageError

ME, PROVIDER = "me@example.org", "https://accounts.example.org"


class Error(Exception):
    """As sigstore.errors.Error, of which all its errors are."""


class ServiceAwayError(Error):
    """As sigstore.errors.NetworkError."""


@pytest.fixture
def sigstore(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A service that knows one identity; its bundles repeat what was signed."""
    service = SimpleNamespace(away=False, credential="token of me")

    class Signer:
        def __enter__(self) -> Signer:
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def sign_artifact(self, payload: bytes) -> Any:
            text = json.dumps({"identity": ME, "issuer": PROVIDER, "signed": payload.decode()})
            return SimpleNamespace(to_json=lambda: text)

    def production(offline: bool = False) -> Any:
        if service.away and not offline:
            raise ServiceAwayError from OSError("no route to host")
        return SimpleNamespace(signing_config=None, verify_artifact=check)

    def check(payload: bytes, bundle: dict[str, str], policy: SimpleNamespace) -> None:
        if bundle != {"identity": policy.identity, "issuer": policy.issuer, "signed": payload.decode()}:
            raise Error("the signature is somebody else's")

    modules: dict[str, dict[str, Any]] = {
        "sigstore": {},
        "sigstore.errors": {"Error": Error},
        "sigstore.models": {
            "ClientTrustConfig": SimpleNamespace(production=production),
            "Bundle": SimpleNamespace(from_json=json.loads),
        },
        "sigstore.oidc": {
            "detect_credential": lambda: service.credential,
            "IdentityToken": lambda raw: raw,
            "Issuer": None,
            "ExpiredIdentity": type("ExpiredIdentity", (Exception,), {}),
            "IssuerError": type("IssuerError", (Exception,), {}),
        },
        "sigstore.sign": {
            "SigningContext": SimpleNamespace(
                from_trust_config=lambda config: SimpleNamespace(signer=lambda token: Signer())
            )
        },
        "sigstore.verify": {"Verifier": SimpleNamespace(production=production)},
        "sigstore.verify.policy": {"Identity": SimpleNamespace},
    }
    for name, members in modules.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return service


@pytest.mark.usefixtures("sigstore")
def test_verify_trusts_an_identity_when_its_bundle_is_next_to_the_model(folder: Path, key: SigningKey) -> None:
    result = CliRunner().invoke(main, ["countersign", str(folder / "model.onnx"), "--sigstore"])
    assert result.exit_code == 0, result.output
    payload = Certificate.read(folder / "certificate.json").envelope.payload
    assert json.loads((folder / BUNDLE_NAME).read_bytes())["signed"] == payload.decode()
    model = folder / "model.onnx"
    silent: Any = verify(model, trust=[key.public])
    assert silent.exit_code == 0 and silent.check("identity").outcome == "skipped"
    named: Any = verify(model, identity=ME, issuer=PROVIDER)
    assert named.exit_code == 0 and named.signatures[1].name == ME and named.vouched_for == "self-attested"
    for identity, issuer in (("you@example.org", PROVIDER), (ME, "https://elsewhere.example.org")):
        other = verify(model, trust=[key.public], identity=identity, issuer=issuer)
        assert [check.name for check in other.failed] == ["identity"]
    (folder / BUNDLE_NAME).unlink()
    assert [check.name for check in verify(model, identity=ME, issuer=PROVIDER).failed] == ["identity"]
    with pytest.raises(UsageError, match="--issuer"):
        verify(model, identity=ME)


def test_sign_keyless_says_what_it_needs_when_the_network_is_unreachable(sigstore: SimpleNamespace) -> None:
    bundle = sign_keyless(b"words")
    sigstore.away = True
    with pytest.raises(CertificateError, match=r"no route to host.*leanmark keygen"):
        sign_keyless(b"words")
    verify_keyless(bundle, b"words", ME, PROVIDER)  # needs no network
    with pytest.raises(CertificateError, match="does not confirm"):
        verify_keyless(bundle, b"other words", ME, PROVIDER)
    with pytest.raises(CertificateError, match="does not confirm"):
        verify_keyless(b"no json", b"words", ME, PROVIDER)


def test_keyless_names_the_extra_when_the_package_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sigstore", "sigstore.models", "sigstore.errors", "sigstore.verify"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"'\.\[sigstore\]'"):
        sign_keyless(b"words")
    with pytest.raises(MissingExtra, match=r"'\.\[sigstore\]'"):
        verify_keyless(b"{}", b"words", ME, PROVIDER)


def test_keyless_finds_the_package_when_it_is_installed() -> None:
    pytest.importorskip("sigstore", reason="the extra sigstore is not installed")
    with pytest.raises(CertificateError, match=ME):
        verify_keyless(b"{}", b"words", ME, PROVIDER)
    with pytest.raises(CertificateError, match=ME):
        verify_keyless(b"no bundle", b"words", ME, PROVIDER)
