"""A token for a bearer (argv: secret, sub, topic, ...; seconds and kid by the environment). Standard library alone."""
import base64, hashlib, hmac, json, os, sys, time

def part(value):
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=")

def sign(secret, claims, kid=None):
    header = {"alg": "HS256", "typ": "JWT", **({"kid": kid} if kid else {})}
    text = part(header) + b"." + part(claims)
    return (text + b"." + part(hmac.new(secret.encode(), text, hashlib.sha256).digest())).decode()

if __name__ == "__main__":
    secret, sub, *topics = sys.argv[1:]
    now = int(os.environ.get("NOW", time.time()))
    claims = {"sub": sub, "iat": now, "exp": now + 3600, "realtime": {"subscribe": topics}}
    print(sign(secret, claims, os.environ.get("KID")))
