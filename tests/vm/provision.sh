#!/bin/sh
# Makes a Debian system one in which the runtime tests run: container runtimes, OOM daemons, and
# how they are set up. Runs as root, in a virtual machine that is up (Vagrant) or in the folder of
# an image that is being built (`--image`), and may run again.
#
# usage: provision.sh [--image]

set -eu
image=
[ "${1-}" = --image ] && image=1
export DEBIAN_FRONTEND=noninteractive

PACKAGES="systemd systemd-sysv systemd-oomd dbus kmod procps iproute2 iptables
    runc crun containerd docker.io podman conmon busybox-static earlyoom curl ca-certificates"
# Part of docker.io up to Debian 12.
OPTIONAL="docker-cli"

install() {
    apt-get --quiet --yes --no-install-recommends install "$@"
}

# Writes its input to a file, whose folder may be missing.
put() {
    mkdir -p "${1%/*}"
    cat >"$1"
}

apt-get --quiet update
for package in $OPTIONAL; do
    apt-cache show --no-all-versions "$package" >/dev/null 2>&1 && PACKAGES="$PACKAGES $package"
done
# shellcheck disable=SC2086 # words
install $PACKAGES

# CRI for pods, with an image of the sandbox that the tests make themselves: there is no registry.
put /etc/containerd/config.toml <<'END'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.6"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = true
END

# No network: a bridge and its packet filter only cost time.
put /etc/docker/daemon.json <<'END'
{
  "exec-opts": ["native.cgroupdriver=systemd"],
  "bridge": "none",
  "iptables": false,
  "ip6tables": false,
  "ip-forward": false,
  "ip-masq": false
}
END

# The tests cannot wait for half a minute of pressure.
put /etc/systemd/oomd.conf.d/tests.conf <<'END'
[OOM]
DefaultMemoryPressureDurationSec=2s
END

# The tests start their own, with limits that no other process meets.
disable() {
    if [ -n "$image" ]; then
        systemctl --quiet disable "$@"
    else
        systemctl --quiet disable --now "$@"
    fi
}
disable earlyoom.service

if [ -z "$image" ]; then
    # Boxes start with it, and Docker then needs its parser.
    [ -e /sys/module/apparmor ] && install apparmor
    systemctl daemon-reload
    systemctl restart containerd.service docker.service systemd-oomd.service
    exit 0
fi

# From here on: what makes an image out of it.

# The kernel and its modules, without the tools that would make an initramfs for it.
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: *\(linux-image-\)/\1/p')
work=$(mktemp -d)
chmod 755 "$work"
(cd "$work" && apt-get --quiet download -o APT::Sandbox::User=root "$kernel")
for package in "$work"/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --directory /
done
rm -r "$work"
for modules in /usr/lib/modules/*; do
    depmod "${modules##*/}"
done

# Devices are the kernel's own doing, nobody logs in, and nothing is to run beside the tests.
mask() {
    for unit in "$@"; do
        ln -sf /dev/null "/etc/systemd/system/$unit"
    done
}
mask systemd-udevd.service systemd-udev-trigger.service systemd-udev-settle.service \
    systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-hwdb-update.service \
    getty@.service serial-getty@.service getty-static.service console-getty.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-tmpfiles-clean.timer systemd-timesyncd.service systemd-networkd-wait-online.service \
    podman-auto-update.timer podman-auto-update.service podman-restart.service \
    systemd-firstboot.service systemd-machine-id-commit.service
systemctl --quiet disable docker.service # its socket starts it
: >/etc/machine-id
systemd-machine-id-setup
echo guest >/etc/hostname
: >/etc/resolv.conf # sandboxes get a copy
passwd --quiet --lock root
: >/etc/fstab

# The second disk is a tar archive with the tests, and with what starts them.
put /usr/local/sbin/oomtrace-tests <<'END'
#!/bin/sh
for controller in /sys/class/nvme/nvme*; do
    if [ "$(tr -d ' ' <"$controller/serial")" = oomtrace-tests ]; then
        mkdir -p /t
        tar -xf "/dev/${controller##*/}n1" -C /t
        exec /t/image-init
    fi
done
echo "no disk holds the tests" >/dev/console
exit 1
END
chmod 755 /usr/local/sbin/oomtrace-tests
put /etc/systemd/system/oomtrace-tests.service <<'END'
[Unit]
Description=The tests on the second disk, then power off
After=containerd.service docker.socket
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate

[Service]
Type=oneshot
ExecStart=/usr/local/sbin/oomtrace-tests

[Install]
WantedBy=multi-user.target
END
systemctl --quiet enable oomtrace-tests.service
