# Starts systemd as process 1 of namespaces of its own, in cgroups of its own.
# usage: sh -c SCRIPT sh ROOT WORK NAME; what is written goes to WORK, and ROOT stays as it is.
set -e
root=$1 work=$2 name=$3 new=$2/new

# One for each hierarchy, and the whole tree where there is one alone.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -e "$hierarchy/cgroup.procs" ] || continue
    mkdir -p "$hierarchy/$name"
    for file in cpuset.mems cpuset.cpus; do # empty in a new one of v1, which then takes nobody
        [ -e "$hierarchy/$name/$file" ] && cat "$hierarchy/$file" >"$hierarchy/$name/$file"
    done
    echo $$ >"$hierarchy/$name/cgroup.procs"
done

mkdir -p "$work/upper" "$work/work" "$new"
export root work new
exec unshare --pid --fork --mount --uts --ipc --cgroup --propagation private sh -ec '
    mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/work" "$new"
    cd "$new"
    mount -t proc proc proc
    mount -t sysfs sysfs sys -o ro
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs tmp
    mount -t tmpfs tmpfs dev -o mode=755
    for node in null zero full random urandom tty; do
        : >"dev/$node"
        mount --bind "/dev/$node" "dev/$node"
    done
    mkdir dev/pts dev/shm
    mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
    ln -s pts/ptmx dev/ptmx
    if [ -e /sys/fs/cgroup/cgroup.procs ]; then
        mount -t cgroup2 cgroup2 sys/fs/cgroup
    else
        mount -t tmpfs tmpfs sys/fs/cgroup
        for hierarchy in /sys/fs/cgroup/*; do
            kind=${hierarchy##*/}
            [ -e "$hierarchy/cgroup.procs" ] || continue
            mkdir "sys/fs/cgroup/$kind"
            case $kind in
            unified) mount -t cgroup2 cgroup2 "sys/fs/cgroup/$kind" ;;
            systemd) mount -t cgroup -o none,name=systemd cgroup "sys/fs/cgroup/$kind" ;;
            *) mount -t cgroup -o "$kind" cgroup "sys/fs/cgroup/$kind" ;;
            esac
        done
    fi
    pivot_root . mnt
    cd /
    umount -l /mnt
    hostname systemd
    exec env -i container=other TERM=dumb /lib/systemd/systemd --log-target=console
'
