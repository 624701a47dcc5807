#!/bin/sh
# The first process of the pool's machine: mounts its file system, then becomes HTCondor's master.
# It runs in new namespaces (see pool.py), so the mounts and all processes end with it.
# machine.sh SYSTEM FOLDER USER UID PATH...: the installed system, the pool's folder, its user, the paths that jobs see
set -eu
system=$1 folder=$2 user=$3 uid=$4
shift 4
layer=$folder/layer
root=$layer/root

# Writes outside of the pool's folder go to a layer in memory above the installed system.
mkdir -p "$layer"
mount -t tmpfs -o mode=755 tmpfs "$layer"
mkdir "$layer/above" "$layer/work" "$root"
mount -t overlay -o "lowerdir=$system,upperdir=$layer/above,workdir=$layer/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys" # HTCondor would tune the real machine's kernel
mount --rbind /dev "$root/dev"

# Mount a path under the same path. The folders above it belong to the machine: let the jobs' users pass through them.
show() {
    if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root${1%/*}" && : > "$root$1"; fi
    above=${1%/*}
    while [ -n "$above" ]; do
        chmod a+x "$root$above"
        above=${above%/*}
    done
    mount --bind "$1" "$root$1"
}
for path in "$@"; do
    show "$path"
    mount -o remount,bind,ro "$root$path"
done
show "$folder"

chroot "$root" useradd --uid "$uid" --home-dir "$folder/home" --shell /bin/bash "$user"
chroot "$root" install -d -o condor -g condor "$folder/pool"
for name in log spool execute lock run; do chroot "$root" install -d -o condor -g condor "$folder/pool/$name"; done
cp "$folder/pool.conf" "$root/etc/condor/config.d/99-pool.conf"
exec chroot "$root" condor_master -f
