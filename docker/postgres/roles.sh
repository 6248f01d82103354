#!/bin/sh
# Runs once, when the database is empty: ACS's logins with their passwords. The owner may create roles and is no superuser; `fleet init`
# finds the others and gives them their rights.
set -eu
psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres -v owner="$ACS_OWNER_PASSWORD" \
  -v web="$ACS_WEB_PASSWORD" -v worker="$ACS_WORKER_PASSWORD" -v mover="$ACS_MOVER_PASSWORD" <<'SQL'
create role acs_owner login createrole password :'owner';
set role acs_owner;
create role acs_web login password :'web';
create role acs_worker login password :'worker';
create role acs_mover login password :'mover';
reset role;
create database acs owner acs_owner;
SQL
