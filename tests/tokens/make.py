"""Makes tokens and keys with PyJWT for tests/access/tokens.rs, good and bad, each with what must come of it.

    python make.py FOLDER      (needs the pinned packages of tests/clients/requirements.txt)

Keys are new in each run and their private halves are not kept. All times are around NOW.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

NOW = 1_800_000_000
SECRET = "a secret of tests, with 64 characters, so that HS512 has its bits"
FOLDER = pathlib.Path(sys.argv[1])

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
RSA_OF_ALL = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
EC_384 = ec.generate_private_key(ec.SECP384R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS = {"RS256": RSA, "ES256": EC, "ES384": EC_384, "EdDSA": ED}
OTHERS = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
CLAIMS = {"userId": "u1", "tenantId": "a1", "roles": ["admin", "editor"], "exp": NOW + 60}
IDENTITY = {"user": "u1", "tenant": "a1", "roles": ["admin", "editor"], "exp": NOW + 60}

cases = []


def case(name, policy, token, expect):
    """`expect` is an identity, or the label of an error."""
    cases.append({"name": name, "policy": policy, "token": token, "expect": expect})


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def hand_made(header, claims, secret=SECRET.encode(), digest=hashlib.sha256):
    """A token that PyJWT refuses to make; header and claims may be bytes."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    message = ".".join(b64(part) for part in parts)
    return message + "." + b64(hmac.new(secret, message.encode(), digest).digest())


def secret(claims, algorithm="HS256", headers=None, key=SECRET):
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def with_zeros(jwk, *names):
    """The same key with a byte for the sign before each number, as Java's BigInteger writes it."""
    decoded = {name: jwt.utils.base64url_decode(jwk[name]) for name in names}
    return {**jwk, **{name: b64(b"\0" + number) for name, number in decoded.items()}}


def signed_by(key, header):
    """A token of Ed25519 under a header that PyJWT does not write."""
    message = b64(json.dumps(header).encode()) + "." + b64(json.dumps(CLAIMS).encode())
    return message + "." + b64(key.sign(message.encode()))


def pem_of(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def jwk_of(key, kid, **more):
    maker = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    maker = next((made for kind, made in maker.items() if isinstance(key, kind)), OKPAlgorithm)
    return {**json.loads(maker.to_jwk(key.public_key())), "kid": kid, **more}


def relabelled(token, algorithm):
    """A token whose header says another algorithm."""
    return b64(json.dumps({"alg": algorithm}).encode()) + token[token.index("."):]


def good():
    for algorithm in ("HS256", "HS384", "HS512"):
        case(algorithm, "secret", secret(CLAIMS, algorithm), IDENTITY)
    for algorithm, key in KEYS.items():
        case(f"{algorithm} by PEM", "pem", jwt.encode(CLAIMS, key, algorithm), IDENTITY)
        named = jwt.encode(CLAIMS, key, algorithm, headers={"kid": f"key {algorithm}"})
        case(f"{algorithm} by PEM, with a kid", "pem", named, IDENTITY)
        case(f"{algorithm} by JWKS", "jwks", named, IDENTITY)
        case(f"{algorithm} by JWKS, without a kid", "jwks", jwt.encode(CLAIMS, key, algorithm), IDENTITY)
    for algorithm in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        case(f"{algorithm} by PEM", "pem", jwt.encode(CLAIMS, RSA, algorithm), IDENTITY)
        named = jwt.encode(CLAIMS, RSA_OF_ALL, algorithm, headers={"kid": "key of all"})
        case(f"{algorithm} by JWKS, by a key with zeros before its numbers", "jwks", named, IDENTITY)
    case("Ed25519 by PEM", "pem", signed_by(ED, {"alg": "Ed25519"}), IDENTITY)
    case("Ed25519 by JWKS", "jwks", signed_by(ED, {"alg": "Ed25519", "kid": "key EdDSA"}), IDENTITY)
    case("a kid of null", "secret", hand_made({"alg": "HS256", "kid": None}, CLAIMS), IDENTITY)
    case("all kinds of keys at once", "all", secret(CLAIMS), IDENTITY)
    case("no expiry", "secret", secret({"sub": "u1"}), {"user": "u1"})
    case("a fraction of a second", "secret", secret({"sub": "u1", "exp": NOW + 60.5}), {"user": "u1", "exp": NOW + 60})
    case("nobody", "secret", secret({"x": 1}), {})
    case("userId before sub", "secret", secret({"sub": "s", "userId": "u"}), {"user": "u"})
    case("null is none", "secret", secret({"sub": "s", "userId": None}, "HS384"), {"user": "s"})
    case("a number", "secret", hand_made({"alg": "HS256"}, {"sub": 42}), {"user": "42"})
    case("organization", "secret", secret({"organizationId": "o"}), {"tenant": "o"})
    case("one role", "secret", secret({"roles": "admin"}), {"roles": ["admin"]})
    case("claims beside", "secret", secret({"sub": "u", "a": {"sub": "v"}, "b": [[1.5e300]]}), {"user": "u"})
    for aud in ("fanwire", ["other", "fanwire"]):
        case(f"audience {aud}", "strict", secret({"aud": aud, "iss": "me", "who": "u"}), {"user": "u"})


def forged():
    for algorithm, key in OTHERS.items():
        case(f"another {algorithm} key", "pem", jwt.encode(CLAIMS, key, algorithm), "signature")
        named = jwt.encode(CLAIMS, key, algorithm, headers={"kid": f"key {algorithm}"})
        case(f"another {algorithm} key under a known kid", "jwks", named, "signature")
        public = pem_of(KEYS[algorithm]).encode()
        for spelling in (public, public.strip(), jwt.utils.base64url_decode("AQAB")):
            token = hand_made({"alg": "HS256", "typ": "JWT"}, CLAIMS, spelling)
            case(f"{algorithm} key as a secret", "pem", token, "algorithm_refused")
            case(f"{algorithm} key as a secret, beside a real one", "all", token, "signature")
        token = hand_made({"alg": "HS256", "kid": f"key {algorithm}"}, CLAIMS, public)
        case(f"{algorithm} key as a secret by kid", "jwks", token, "algorithm_refused")
    case("another secret", "secret", secret(CLAIMS, key="another secret, that is long enough too"), "signature")
    case("no secret", "secret", hand_made({"alg": "HS256"}, CLAIMS, b""), "signature")
    case("HS512 said to be HS256", "secret", hand_made({"alg": "HS256"}, CLAIMS, digest=hashlib.sha512), "signature")
    case("another algorithm's signature", "all", hand_made({"alg": "RS256"}, CLAIMS), "signature")
    case("PS256 said to be RS256", "pem", relabelled(jwt.encode(CLAIMS, RSA, "PS256"), "RS256"), "signature")
    case("an algorithm that is not the key's", "jwks",
         jwt.encode(CLAIMS, RSA, "PS256", headers={"kid": "key RS256"}), "key_unknown")
    case("the other curve", "pem", relabelled(jwt.encode(CLAIMS, EC, "ES256"), "ES384"), "signature")
    case("another Ed25519 key", "pem", signed_by(OTHERS["EdDSA"], {"alg": "Ed25519"}), "signature")
    case("unknown kid", "jwks", jwt.encode(CLAIMS, RSA, "RS256", headers={"kid": "other"}), "key_unknown")
    case("kid of another key", "jwks", jwt.encode(CLAIMS, RSA, "RS256", headers={"kid": "key ES256"}), "key_unknown")
    case("own key in the header", "pem",
         jwt.encode(CLAIMS, OTHERS["RS256"], "RS256", headers={"jwk": jwk_of(OTHERS["RS256"], "x")}), "signature")
    token = secret(CLAIMS)
    head, body, sign = token.split(".")
    other = b64(json.dumps({**CLAIMS, "userId": "u2"}).encode())
    case("other claims", "secret", f"{head}.{other}.{sign}", "signature")
    case("other header", "secret", b64(b'{"alg":"HS256"}') + f".{body}.{sign}", "signature")
    case("no signature", "secret", f"{head}.{body}.", "signature")
    case("short signature", "secret", f"{head}.{body}.{b64(jwt.utils.base64url_decode(sign)[:-1])}", "signature")
    case("long signature", "secret", f"{head}.{body}.{sign}{b64(b'more')}", "base64")
    case("none", "secret", jwt.encode(CLAIMS, None, algorithm="none"), "unsigned")
    case("None", "all", hand_made({"alg": "None"}, CLAIMS), "unsigned")


def refused():
    case("no keys", "none", secret(CLAIMS), "no_keys")
    case("not allowed", "only RS256", secret(CLAIMS, "HS256"), "algorithm_refused")
    case("PS256", "only RS256", jwt.encode(CLAIMS, RSA, "PS256"), "algorithm_refused")
    case("ES512", "pem", jwt.encode(CLAIMS, ec.generate_private_key(ec.SECP521R1()), "ES512"), "algorithm_unknown")
    case("ES256K", "pem", jwt.encode(CLAIMS, ec.generate_private_key(ec.SECP256K1()), "ES256K"), "algorithm_unknown")
    case("crit", "secret", secret(CLAIMS, headers={"crit": ["exp"], "exp": NOW + 1}), "critical")
    case("detached", "secret", hand_made({"alg": "HS256", "b64": False, "crit": ["b64"]}, CLAIMS), "critical")
    case("expired", "secret", secret({**CLAIMS, "exp": NOW - 10}), "expired")
    case("expires now", "secret", secret({**CLAIMS, "exp": NOW}), "expired")
    case("expired before all", "secret", hand_made({"alg": "HS256"}, {"exp": -1}), "expired")
    case("not yet", "secret", secret({**CLAIMS, "nbf": NOW + 1}), "not_yet_valid")
    case("just now", "secret", secret({**CLAIMS, "nbf": NOW}), IDENTITY)
    case("late within the leeway", "leeway", secret({"sub": "u", "exp": NOW - 29}), {"user": "u", "exp": NOW + 1})
    case("late beyond the leeway", "leeway", secret({"sub": "u", "exp": NOW - 30}), "expired")
    case("early within the leeway", "leeway", secret({"sub": "u", "nbf": NOW + 30}), {"user": "u"})
    case("early beyond the leeway", "leeway", secret({"sub": "u", "nbf": NOW + 31}), "not_yet_valid")
    for aud in (None, "other", "Fanwire", ["other"], [], ["fanwire "]):
        claims = {"iss": "me"} if aud is None else {"iss": "me", "aud": aud}
        case(f"audience {aud}", "strict", secret(claims), "audience")
    for aud in (1, {"fanwire": 1}, [["fanwire"]]):
        case(f"audience {aud}", "strict", hand_made({"alg": "HS256"}, {"iss": "me", "aud": aud}), "audience")
    for iss in (None, "you", "me/", ""):
        claims = {"aud": "fanwire"} if iss is None else {"aud": "fanwire", "iss": iss}
        case(f"issuer {iss}", "strict", secret(claims), "issuer")
    case("issuers", "strict", hand_made({"alg": "HS256"}, {"aud": "fanwire", "iss": ["me"]}), "issuer")
    for wrong in ({"userId": ""}, {"userId": "x" * 129}, {"sub": "a\nb"}, {"sub": True}, {"sub": 1.5}, {"sub": ["u"]},
                  {"sub": {}}, {"userId": "", "sub": "u"}, {"tenantId": ""}, {"tenantId": 5}, {"tenantId": "a\0"},
                  {"roles": ""}, {"roles": ["a", ""]}, {"roles": [1]}, {"roles": 1}, {"roles": ["r"] * 33}):
        case(f"name {wrong}"[:60], "secret", hand_made({"alg": "HS256"}, wrong), "name")
    for wrong in (b"", b"null", b"[]", b"1", b'"a"', b"{", b'{"sub":"a"', b'{"sub":"a"}x', b'{"sub":"a","sub":"b"}',
                  b'{"userId":"a","userI\\u0064":"b"}', b'{"exp":1800000060,"exp":1800000060}', b'{"exp":"soon"}',
                  b'{"exp":null}', b'{"exp":true}', b'{"nbf":[]}', b'{"sub":"\xff"}', b'{"exp":1e999}', b"[" * 900):
        label = "claims" if wrong else "parts"
        case(f"claims {wrong}"[:60], "secret", hand_made({"alg": "HS256"}, wrong), label)
    for wrong in (b"{}", b"null", b'{"alg":null}', b'{"alg":"HS256","alg":"HS256"}', b'{"alg":"HS256"', b"\xff",
                  b'["HS256"]', b'["HS256",null,false,false]'):
        case(f"header {wrong}", "secret", hand_made(wrong, CLAIMS), "header")
    head, body, sign = secret(CLAIMS).split(".")
    for token in ("", ".", "..", head, f"{head}.{body}", f"{head}..{sign}", f"{head}.{body}.{sign}.", f".{body}.{sign}"):
        case(f"parts {token[:8]}", "secret", token, "parts")
    for token in (f"{head}.{body}.{sign}=", f"{head}=.{body}.{sign}", f" {head}.{body}.{sign}", f"{head}.{body}.{sign}\n",
                  f"{head}.{body}.+{sign[1:]}", f"{head}.{body}.é{sign}", f"{head[:-1]}.{body}.{sign}"):
        case(f"base64 {token[-4:]}", "secret", token, "base64")
    case("huge", "secret", secret({**CLAIMS, "x": "x" * 9000}), "too_long")
    case("huge and nothing", "secret", "x" * 8193, "too_long")
    case("inactive", "tenants", secret({**CLAIMS, "tenantId": "a12"}), "tenant_inactive")
    case("no tenant", "tenants", secret({"sub": "u"}), "tenant_missing")
    case("active", "tenants", secret(CLAIMS), IDENTITY)


good()
forged()
refused()
keys = [jwk_of(key, f"key {algorithm}", alg=algorithm, use="sig") for algorithm, key in KEYS.items()]
keys[1] = with_zeros(keys[1], "x", "y")
keys.append(with_zeros(jwk_of(RSA_OF_ALL, "key of all"), "n", "e"))
# What sets of others have as well.
keys.append(jwk_of(OTHERS["RS256"], "for encryption", use="enc"))
keys.append(jwk_of(ec.generate_private_key(ec.SECP521R1()), "another curve"))
keys.append({"kty": "from the future", "kid": "z"})
(FOLDER / "tokens.json").write_text(json.dumps({"now": NOW, "secret": SECRET, "cases": cases}, indent=1) + "\n")
(FOLDER / "jwks.json").write_text(json.dumps({"keys": keys}, indent=1) + "\n")
(FOLDER / "public.pem").write_text("".join(f"{name}\n{pem_of(key)}" for name, key in KEYS.items()))
