#!/usr/bin/env bash
# Installs the Debian packages whose programs the tests run, if any is missing; with "bench" those of the benchmark too. Says nothing
# when all are there.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

# program  package
programs='
curl         curl
gcc          gcc
git          git
ip           iproute2
nc           netcat-openbsd
nginx        nginx-light
psql         postgresql-client
redis-cli    redis-tools
redis-server redis-server
rsync        rsync
socat        socat
squid        squid
ssh          openssh-client
ssh-keygen   openssh-client
sshd         openssh-server
'
[ "${1:-}" != bench ] || programs+='haproxy      haproxy
'

missing=()
while read -r program package; do
	[ -z "$program" ] || command -v "$program" >/dev/null || missing+=("$package")
done <<<"$programs"
# The server programs of PostgreSQL are kept out of PATH.
command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
# The race detector is linked by gcc against the C library.
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || {
		echo "The tests need these packages: ${missing[*]}" >&2
		echo "hint: install them as root: apt-get install ${missing[*]}" >&2
		exit 1
	}
	as_root=(sudo)
fi
command -v apt-get >/dev/null || {
	echo "The tests need programs from these Debian packages: ${missing[*]}" >&2
	echo "hint: there is no apt-get here; install them by other means" >&2
	exit 1
}

# The tests start servers of their own; what a package would start by itself is not wanted, and would take its port.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
	"${as_root[@]}" chmod 755 $policy
	trap '"${as_root[@]}" rm -f $policy' EXIT
fi

install() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}
echo "installing for the tests: ${missing[*]}"
install 2>/dev/null || {
	"${as_root[@]}" apt-get update -qq
	install
}
