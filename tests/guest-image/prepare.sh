# Sourced by ./guest: installs QEMU and virtiofsd, fetches a kernel and lays it out for booting, in the cache folder.
# Uses $here, $cache, $kernel, $refresh and $work of ./guest, and its say and die.
# shellcheck shell=bash
# shellcheck disable=SC2154 # they are set there

# shellcheck source=tests/guest-image/debian.sh
source "$here/tests/guest-image/debian.sh"

readonly SUITE=trixie    # the Debian release whose kernels are used, whichever this machine runs

# Debian 12 has virtiofsd inside QEMU's packages, later releases have another one, in a package of its own.
virtiofsd() { first_of /usr/libexec/virtiofsd /usr/lib/qemu/virtiofsd; }

have_tools() {
    local tool
    for tool in qemu-system-x86_64 modprobe depmod zstd xz; do command -v "$tool" >/dev/null || return; done
    virtiofsd >/dev/null
}

install_tools() {
    ! have_tools || return 0
    say 'installing QEMU, virtiofsd and kmod (first use)'
    update_index
    local packages=(qemu-system-x86 kmod zstd xz-utils)
    [[ -z $(apt-cache madison virtiofsd) ]] || packages+=(virtiofsd)
    DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=600 \
        "${packages[@]}" || die "apt-get install ${packages[*]} failed, see above"
    have_tools || die "after installing ${packages[*]} there is still no virtiofsd, QEMU or modprobe on this machine"
}

fetch_kernel() {
    local name=$1 suite=$SUITE package packages=()
    [[ $name == stable ]] || suite+=-backports
    say "fetching the kernel of $suite (first use, or --refresh)"
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    open_suite "$suite" "$work"
    mkdir -p "$work"/{tree,new/lib/modules}
    # One package or, since 6.19, several. Their names hold the version, which moves, so the index is asked for them.
    while read -r package; do packages+=("$package"); done < <(
        apt-cache "${own[@]}" depends --recurse --no-recommends --no-suggests linux-image-cloud-amd64 |
            grep -E '^linux-(image|binary|modules|base)-[0-9].*-cloud-amd64$')
    ((${#packages[@]})) || die "$suite has no linux-image-cloud-amd64"
    unpack_packages "$work/tree" "${packages[@]}"
    unpack_kernel "$work/tree" "$work/new"
    rm -rf "${cache:?}/$name" "$cache/kvm.$name".*
    mv "$work/new" "$cache/$name"
    rm -rf "$work"
    work=''
    say "kernel $(<"$cache/$name/release") is in $cache/$name"
}

# Lays out what a boot needs: vmlinux, release and lib/modules. All of it unpacked, here and once, since a guest
# under emulation takes seconds to unpack its kernel.
unpack_kernel() {
    local tree=$1 new=$2 release image sectors offset length
    mv "$tree"/usr/lib/modules/* "$new/lib/modules/"
    release=$(basename "$new"/lib/modules/*)
    image=$(first_of "$new/lib/modules/$release/vmlinuz" "$tree/boot/vmlinuz-$release") ||
        die "the packages of kernel $release hold no vmlinuz where it is expected"
    # The image's header tells where in it the compressed kernel lies (the kernel's Documentation/arch/x86/boot.rst);
    # the last four of those bytes are the unpacked size.
    sectors=$(od -An -tu1 -N1 -j $((0x1f1)) "$image")
    offset=$(od -An -tu4 -N4 -j $((0x248)) "$image")
    length=$(od -An -tu4 -N4 -j $((0x24c)) "$image")
    tail -c +$(((sectors + 1) * 512 + offset + 1)) "$image" | head -c $((length - 4)) |
        zstd -dcq >"$new/vmlinux" 2>/dev/null || cp "$image" "$new/vmlinux"    # not zstd: then the guest unpacks it
    find "$new/lib/modules" -name '*.ko.xz' -exec xz -d {} +
    depmod -b "$new" "$release"
    [[ -n $(find "$new/lib/modules" -name 'ublk_drv.ko*') ]] || die "kernel $release has no ublk_drv"
    echo "$release" >"$new/release"
}

# Leaves a shared lock on the kernel for as long as this script runs: --refresh waits for those who still use it.
prepare_kernel() {
    local name=$1 lock
    exec {lock}>>"$cache/$name.lock"
    if [[ -n $refresh || ! -s $cache/$name/release ]]; then
        flock -n "$lock" || { say "waiting for the guests that use the $name kernel, or for its fetch"; flock "$lock"; }
        [[ -z $refresh && -s $cache/$name/release ]] || fetch_kernel "$name"
    fi
    flock -s "$lock"
}

prepare() {
    local lock name
    mkdir -p "$cache" || die "cannot make the cache folder $cache: set MUENBLOCK_CACHE to another place"
    cache=$(cd "$cache" && pwd -P)
    exec {lock}>>"$cache/install.lock"
    flock "$lock"
    install_tools
    mkdir -p /usr/lib/modules    # where the guest mounts its kernel's modules; it cannot make it itself
    exec {lock}>&-
    for name in latest stable; do
        [[ $kernel != "$name" && $kernel != all ]] || prepare_kernel "$name"
    done
}

