"""Signing without a key of one's own, through sigstore (https://docs.sigstore.dev); needs the extra ``sigstore``.

An identity provider confirms the signer's identity (an e-mail address, a workflow of a build service), sigstore's
authority issues a certificate for it that is valid for a few minutes, and a public log stores the signature. The signed
payload is that of the certificate's envelope, so the bundle vouches for no more than the maker's key does. Signing
needs the network; verifying needs the trust roots that the package includes or has fetched before.
"""

from __future__ import annotations

from certify.core.errors import CertificateError, MissingExtra

BUNDLE_NAME = "certificate.sigstore.json"
EXTRA = "sigstore"


def sign_keyless(payload: bytes) -> bytes:
    """Sign a payload with the identity provided by the environment or a browser.

    Returns:
        The bundle as JSON: signature, short-lived certificate and the log's proof.

    Raises:
        MissingExtra: the package is not installed.
        CertificateError: no identity is available, or sigstore's services cannot be reached.
    """
    try:
        bundle: str = _sign(payload)
    except ModuleNotFoundError as error:
        raise MissingExtra("Keyless signing", EXTRA) from error
    except _failures() as error:
        raise CertificateError(
            f"Sigstore could not sign ({_words(error)}). Signing needs the network and an identity; without them, use "
            "a key (leanmark keygen)."
        ) from error
    return bundle.encode()


def verify_keyless(bundle: bytes, payload: bytes, identity: str, issuer: str) -> None:
    """Check that a bundle is a signature of a payload by an identity.

    Args:
        bundle: result of :func:`sign_keyless`.
        payload: signed bytes.
        identity: required signer: an e-mail address, or the URL of a workflow.
        issuer: URL of the identity provider that must have confirmed it.

    Raises:
        MissingExtra: the package is not installed.
        CertificateError: the signature is invalid, or cannot be checked.
    """
    try:
        _verify(bundle, payload, identity, issuer)
    except ModuleNotFoundError as error:
        raise MissingExtra("Checking a keyless signature", EXTRA) from error
    except _failures() as error:
        raise CertificateError(f"Sigstore does not confirm that {identity} signed this: {_words(error)}.") from error


def _sign(payload: bytes) -> str:
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken, Issuer, detect_credential
    from sigstore.sign import SigningContext

    config = ClientTrustConfig.production()
    credential = detect_credential()
    if credential is None:
        token = Issuer(config.signing_config.get_oidc_url()).identity_token()
    else:
        token = IdentityToken(credential)
    with SigningContext.from_trust_config(config).signer(token) as signer:
        return str(signer.sign_artifact(payload).to_json())


def _verify(bundle: bytes, payload: bytes, identity: str, issuer: str) -> None:
    from sigstore.models import Bundle
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    policy = Identity(identity=identity, issuer=issuer)
    # Offline, because the package contains the trust roots and verification must not need a network.
    Verifier.production(offline=True).verify_artifact(payload, Bundle.from_json(bundle), policy)


def _failures() -> tuple[type[Exception], ...]:
    """Return the exceptions raised if sigstore cannot sign or verify; it does not wrap all of its parts' errors."""
    try:
        from sigstore.errors import Error
        from sigstore.oidc import ExpiredIdentity, IssuerError
    except ModuleNotFoundError:
        return (OSError,)
    # Sigstore does not wrap all errors of its dependencies.
    return (Error, ExpiredIdentity, IssuerError, OSError, ValueError)


def _words(error: BaseException) -> str:
    """Return the message of the innermost error that has one: sigstore's own errors are often empty."""
    text, cause = type(error).__name__, error
    while cause is not None:
        text = " ".join(str(cause).split()) or text
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return text[:300].rstrip(".")
