#!/bin/sh
# Bootstrap one device of an enrolment group: signs, asks, prints the answer as JSON. Needs openssl and curl. See SIGNING.md.
#
#   ACS_DEVICE_KEY=... acs-bootstrap.sh https://acs.example.com GROUP_ID REGISTRATION_ID [HOSTNAME]
#
# Exit status 0: admitted; 75: come back after the printed number of seconds; 1: refused.
# Every user of a machine can read the arguments of its programs: key and signature go through pipes alone, by the shell's own printf.
set -eu
LC_ALL=C
export LC_ALL
key=$ACS_DEVICE_KEY
unset ACS_DEVICE_KEY
[ "$(command -v printf)" = printf ] || { echo "this shell has no printf of its own: run it with sh, dash or bash" >&2; exit 1; }
[ "${#key}" -le 64 ] || { echo "ACS_DEVICE_KEY is no device's key" >&2; exit 1; }
url=${1%/} group=$2 registration_id=$3 hostname=${4:-}
path=/api/v1/bootstrap
body='{}'
[ -z "$hostname" ] || body="{\"hostname\": \"$hostname\"}"
timestamp=$(date +%s)
nonce=$(openssl rand -hex 16)
digest=$(printf %s "$body" | openssl dgst -sha256 -r | cut -c1-64)
lower=$(printf %s "$registration_id" | tr '[:upper:]' '[:lower:]')

# padded BYTE: the key, filled up to SHA-256's block of 64 bytes, each byte XOR this one (RFC 2104)
padded() {
  rest=$key count=0 escapes=
  while [ "$count" -lt 64 ]; do
    case $rest in
      '') code=0 ;;
      *) code=$(printf %d "'$rest") ;; # of the first character
    esac
    rest=${rest#?} count=$((count + 1))
    escapes=$escapes\\$(printf %03o $(((code & 255) ^ $1)))
  done
  printf "$escapes"
}

text() {
  printf 'ACS-HMAC-SHA256\nPOST\n%s\n%s\n%s\n%s\n%s\n%s' "$path" "$timestamp" "$nonce" "$group" "$lower" "$digest"
}

signature=$({ padded 92; { padded 54; text; } | openssl dgst -sha256 -binary; } | openssl dgst -sha256 -binary | openssl base64 -A)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=$(printf 'Authorization: ACS-HMAC-SHA256 group=%s,registration_id=%s,timestamp=%s,nonce=%s,signature=%s\n' \
  "$group" "$registration_id" "$timestamp" "$nonce" "$signature" |
  curl -sS -m 30 -o "$folder/body" -D "$folder/head" -w '%{http_code}' -X POST "$url$path" -H 'Content-Type: application/json' --data "$body" -H @-)
cat "$folder/body"
echo
[ "$status" != 200 ] || exit 0
wait=$(tr -d '\r' <"$folder/head" | sed -n 's/^[Rr]etry-[Aa]fter: *//p')
[ -z "$wait" ] || { echo "again in $wait s" >&2; exit 75; }
exit 1
