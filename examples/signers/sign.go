// A token for a bearer (arguments: secret, sub, topic, ...; the time and a kid by the environment). Standard library alone.
package main

import ("crypto/hmac"; "crypto/sha256"; "encoding/base64"; "encoding/json"; "fmt"; "os"; "time")

type object = map[string]any
func part(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
func sign(secret string, header, claims object) string {
	head, _ := json.Marshal(header)
	body, _ := json.Marshal(claims)
	mac, text := hmac.New(sha256.New, []byte(secret)), part(head) + "." + part(body)
	fmt.Fprint(mac, text)
	return text + "." + part(mac.Sum(nil))
}
func main() {
	now, header := time.Now().Unix(), object{"alg": "HS256", "typ": "JWT"}
	if text := os.Getenv("NOW"); text != "" { fmt.Sscan(text, &now) }
	if kid := os.Getenv("KID"); kid != "" { header["kid"] = kid }
	fmt.Println(sign(os.Args[1], header, object{"sub": os.Args[2], "iat": now, "exp": now + 3600, "realtime": object{"subscribe": os.Args[3:]}}))
}
