# Sourced by ./guest: installs QEMU and virtiofsd, fetches a kernel and lays it out for booting, in the cache folder.
# Uses $cache, $kernel, $refresh and $work of ./guest, and its say and die.
# shellcheck shell=bash
# shellcheck disable=SC2154 # they are set there

readonly SUITE=trixie    # the Debian release whose kernels are used, whichever this machine runs

# Runs a step whose output is of no interest unless it fails.
quietly() {
    "$@" >"$cache/install.log" 2>&1 && return
    tail -n 20 "$cache/install.log" >&2
    return 1
}

# The first of the files that exists.
first_of() { local file; for file in "$@"; do [[ ! -r $file ]] || { echo "$file"; return 0; }; done; return 1; }
# Debian 12 has virtiofsd inside QEMU's packages, later releases have another one, in a package of its own.
virtiofsd() { first_of /usr/libexec/virtiofsd /usr/lib/qemu/virtiofsd; }
# Debian's archive key, with which apt checks what it fetches.
keyring() { first_of /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; }

have_tools() {
    local tool
    for tool in qemu-system-x86_64 modprobe depmod zstd xz; do command -v "$tool" >/dev/null || return; done
    virtiofsd >/dev/null
}

update_index() { quietly apt-get update || die 'apt-get update failed, see above: check the network and /etc/apt'; }

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

# The mirror that this machine's own sources name, in whichever of their formats.
# shellcheck disable=SC2016 # apt-get expands it
debian_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p
}

fetch_kernel() {
    local name=$1 suite=$SUITE mirror package packages=()
    [[ $name == stable ]] || suite+=-backports
    say "fetching the kernel of $suite (first use, or --refresh)"
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || { update_index; mirror=$(debian_mirror); }
    [[ -n $mirror ]] || die "this machine's apt sources name no mirror of Debian to fetch the kernel from: add one"
    keyring >/dev/null || quietly apt-get install -y debian-archive-keyring ||
        die 'apt-get install debian-archive-keyring failed, see above'
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    mkdir -p "$work"/{state/lists/partial,cache/archives/partial,empty,tree,new/lib/modules}
    echo "deb [arch=amd64 target=Packages lang=none signed-by=$(keyring)] $mirror $suite main" >"$work/sources.list"
    # An index of our own beside the machine's, which stays as it is; only its mirror and proxy settings are used.
    local own=(-o "Dir::State=$work/state" -o Dir::State::status=/dev/null -o "Dir::Cache=$work/cache"
        -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::sourceparts=$work/empty"
        -o "Dir::Etc::preferences=$work/none" -o "Dir::Etc::preferencesparts=$work/empty"
        -o APT::Sandbox::User=root -o APT::Architecture=amd64 -o APT::Update::Error-Mode=any)
    quietly apt-get "${own[@]}" update || die "cannot read $suite from $mirror, see above. If its signature cannot be \
checked (NO_PUBKEY): apt-get install a newer debian-archive-keyring"
    # One package or, since 6.19, several. Their names hold the version, which moves, so the index is asked for them.
    while read -r package; do packages+=("$package"); done < <(
        apt-cache "${own[@]}" depends --recurse --no-recommends --no-suggests linux-image-cloud-amd64 |
            grep -E '^linux-(image|binary|modules|base)-[0-9].*-cloud-amd64$')
    ((${#packages[@]})) || die "$suite on $mirror has no linux-image-cloud-amd64"
    (cd "$work" && quietly apt-get "${own[@]}" download "${packages[@]}") ||
        die "fetching ${packages[*]} failed, see above"
    for package in "$work"/*.deb; do dpkg-deb -x "$package" "$work/tree"; done
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

