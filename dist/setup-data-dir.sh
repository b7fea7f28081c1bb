#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Sets up rkt's groups, its fetch helper's user, and the directories that the
# groups may use, with their modes. It may be run again. dist/sysusers.d and
# dist/tmpfiles.d say the same to systemd; docs/security.md says why.
#
#   RKT_ROOT         the root directory to set up in; groups and users are made
#                    only in /
#   RKT_GROUP        who fetches, lists and removes images, and reads pods (rkt)
#   RKT_ADMIN_GROUP  who writes trust and configuration (rkt-admin)
set -eu
umask 022

root=${RKT_ROOT:-}
group=${RKT_GROUP:-rkt}
admin=${RKT_ADMIN_GROUP:-rkt-admin}
data=$root/var/lib/rkt
conf=$root/etc/rkt

if [ -z "$root" ]; then
	for g in "$group" "$admin"; do
		getent group "$g" >/dev/null || groupadd --system "$g"
	done
	getent passwd rkt-fetch >/dev/null ||
		useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin rkt-fetch
fi

# directory MODE GROUP PATH. Never through a link: somebody may have put it there.
directory() {
	if [ -L "$3" ]; then
		echo "$0: $3 is a link" >&2
		exit 1
	fi
	mkdir -p "$3"
	chown -h "root:$2" "$3"
	chmod "$1" "$3"
}

# A store that was root's alone: its files become the group's to read, while
# nobody else can reach them yet.
adopt=
if [ -d "$data/images" ] && [ "$(stat -c %a "$data/images/rkt/records" 2>/dev/null)" != 2770 ]; then
	adopt=1
	find -P "$data/images" -type f -links 1 -exec chown -h "root:$group" {} + -exec chmod 0640 {} +
fi

directory 0750 "$group" "$data"
# Only root adds to these, so nobody can put another directory in place of the
# ones below. Which ACI a name means, and which one a URL gave, is root's word.
for d in images images/blobs images/rkt images/rkt/appc images/rkt/web; do
	directory 2750 "$group" "$data/$d"
done
# Files come and go here, anybody's by anybody.
for d in images/blobs/sha256 images/blobs/sha512 images/rkt/records images/rkt/names images/rkt/fetch images/rkt/index; do
	directory 2770 "$group" "$data/$d"
done
# And here each has files of its own.
for d in images/rkt/tmp images/rkt/ingest; do
	directory 3770 "$group" "$data/$d"
done
# What makes it a store, which only root can add.
file() { # PATH CONTENT
	[ -e "$1" ] || printf '%s' "$2" >"$1"
	chown -h "root:$group" "$1"
	chmod 0640 "$1"
}
file "$data/images/rkt/lock" ''
file "$data/images/oci-layout" '{"imageLayoutVersion":"1.0.0"}'
if [ ! -L "$data/images/index.json" ]; then
	if [ -f "$data/images/index.json" ]; then # an older rkt's
		mv -T "$data/images/index.json" "$data/images/rkt/index/index.json"
	fi
	ln -s rkt/index/index.json "$data/images/index.json"
fi
# Members read pods. An app's files are below a directory of the pod's that is
# root's alone. Phases that they need not list cannot be opened either: rkt takes
# the lock of pods/embryo, which nobody else must hold.
for d in pods pods/prepare pods/prepared pods/run pods/exited-garbage; do
	directory 2750 "$group" "$data/$d"
done
for d in pods/embryo pods/garbage; do
	directory 2710 "$group" "$data/$d"
done
# Trees hold other people's set-user-id programs: nobody goes in but root.
directory 0700 root "$data/layers"
directory 0700 root "$data/layers/tmp"

for d in "" auth.d paths.d stage1.d trustedkeys trustedkeys/root.d trustedkeys/prefix.d; do
	directory 2775 "$admin" "$conf${d:+/$d}"
done

[ -z "$adopt" ] || echo "$0: group $group may use the images in $data now"
