"""Signing without a key of one's own, through sigstore (https://docs.sigstore.dev), as the extra ``sigstore``.

An identity provider says who the signer is (an e-mail address, a workflow of a build service), sigstore's authority
gives a certificate of some minutes for it, and a public log keeps the signature. What is signed is the payload of the
certificate's envelope, so the bundle says no more than the maker's key says: these are my words. Signing needs the
network; verifying needs the roots of trust that the package brings or has fetched before.
"""

from __future__ import annotations

from certify.core.errors import CertificateError, MissingExtra

BUNDLE_NAME = "certificate.sigstore.json"
EXTRA = "sigstore"


def sign_keyless(payload: bytes) -> bytes:
    """Sign a payload with the identity that the surroundings or a browser provide.

    Returns:
        The bundle as JSON: signature, short-lived certificate and the log's proof.

    Raises:
        MissingExtra: the package is not installed.
        CertificateError: nobody vouches for an identity, or sigstore's services can't be reached.
    """
    try:
        bundle: str = _sign(payload)
    except ModuleNotFoundError as error:
        raise MissingExtra("Keyless signing", EXTRA) from error
    except _failures() as error:
        raise CertificateError(
            f"Sigstore could not sign ({_words(error)}). It needs the network and an identity; without them, sign with "
            "a key (leanmark keygen)."
        ) from error
    return bundle.encode()


def verify_keyless(bundle: bytes, payload: bytes, identity: str, issuer: str) -> None:
    """Check that a bundle is a signature over a payload by an identity.

    Args:
        bundle: as :func:`sign_keyless` gave it.
        payload: what was signed.
        identity: who must have signed: an e-mail address, or the URL of a workflow.
        issuer: URL of the provider that must have said so.

    Raises:
        MissingExtra: the package is not installed.
        CertificateError: it is not, or it can't be told.
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
    Verifier.production(offline=True).verify_artifact(payload, Bundle.from_json(bundle), policy)


def _failures() -> tuple[type[Exception], ...]:
    """What sigstore raises where it can't sign or does not confirm; it wraps not all of its own parts' errors."""
    try:
        from sigstore.errors import Error
        from sigstore.oidc import ExpiredIdentity, IssuerError
    except ModuleNotFoundError:
        return (OSError,)
    return (Error, ExpiredIdentity, IssuerError, OSError, ValueError)


def _words(error: BaseException) -> str:
    """The innermost of the errors that say anything: sigstore's own often have no words."""
    said, cause = type(error).__name__, error
    while cause is not None:
        said = " ".join(str(cause).split()) or said
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    return said[:300].rstrip(".")
