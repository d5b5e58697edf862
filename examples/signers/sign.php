<?php
// A token for a bearer (arguments: secret, sub, topic, ...; the time and a kid by the environment). PHP alone.
function part(array|string $value): string {
    $data = is_string($value) ? $value : json_encode($value, JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR);
    return rtrim(strtr(base64_encode($data), '+/', '-_'), '=');
}

function sign(string $secret, array $claims, ?string $kid = null): string {
    $text = part(['alg' => 'HS256', 'typ' => 'JWT'] + ($kid ? ['kid' => $kid] : [])) . '.' . part($claims);
    return $text . '.' . part(hash_hmac('sha256', $text, $secret, true));
}

[, $secret, $sub] = $argv;
$now = (int) (getenv('NOW') ?: time());
$claims = ['sub' => $sub, 'iat' => $now, 'exp' => $now + 3600, 'realtime' => ['subscribe' => array_slice($argv, 3)]];
echo sign($secret, $claims, getenv('KID') ?: null), "\n";
