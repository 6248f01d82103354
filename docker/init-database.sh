#!/bin/sh
# Run once by the PostgreSQL image: the service's logins, with passwords. `fleet init` finds them there and gives them their rights.
set -eu
psql -v ON_ERROR_STOP=1 --username postgres \
  -v owner="$OWNER_PASSWORD" -v web="$WEB_PASSWORD" -v worker="$WORKER_PASSWORD" -v mover="$MOVER_PASSWORD" <<'SQL'
create role acs_owner login createrole password :'owner';
set role acs_owner;
create role acs_web login password :'web';
create role acs_worker login password :'worker';
create role acs_mover login password :'mover';
reset role;
create database acs owner acs_owner;
SQL
