#!/bin/sh
# Bootstrap one device of an enrolment group: signs, asks, prints the answer as JSON. Needs openssl and curl. See SIGNING.md.
#
#   ACS_DEVICE_KEY=... acs-bootstrap.sh https://acs.example.com GROUP_ID REGISTRATION_ID [HOSTNAME]
#
# Exit status 0: admitted; 75: come back after the printed number of seconds; 1: refused.
set -eu
url=${1%/} group=$2 registration_id=$3 hostname=${4:-}
path=/api/v1/bootstrap
body='{}'
[ -z "$hostname" ] || body="{\"hostname\": \"$hostname\"}"
timestamp=$(date +%s)
nonce=$(openssl rand -hex 16)
digest=$(printf %s "$body" | openssl dgst -sha256 -r | cut -c1-64)
lower=$(printf %s "$registration_id" | tr '[:upper:]' '[:lower:]')
signature=$(printf 'ACS-HMAC-SHA256\nPOST\n%s\n%s\n%s\n%s\n%s\n%s' "$path" "$timestamp" "$nonce" "$group" "$lower" "$digest" |
  openssl dgst -sha256 -hmac "$ACS_DEVICE_KEY" -binary | openssl base64 -A)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=$(curl -sS -m 30 -o "$folder/body" -D "$folder/head" -w '%{http_code}' -X POST "$url$path" -H 'Content-Type: application/json' --data "$body" \
  -H "Authorization: ACS-HMAC-SHA256 group=$group,registration_id=$registration_id,timestamp=$timestamp,nonce=$nonce,signature=$signature")
cat "$folder/body"
echo
[ "$status" != 200 ] || exit 0
wait=$(tr -d '\r' <"$folder/head" | sed -n 's/^[Rr]etry-[Aa]fter: *//p')
[ -z "$wait" ] || { echo "again in $wait s" >&2; exit 75; }
exit 1
