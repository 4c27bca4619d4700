# Sourced by scripts that need a package of another release of Debian than this machine's: it is fetched, checked by apt
# with Debian's archive key, and unpacked into a folder; nothing is installed from it.
# Uses $cache (a folder that may be written), and say and die of the script.
# shellcheck shell=bash
# shellcheck disable=SC2154 # they are set there

own=()    # the options that make apt work on an index of our own: see open_suite

# Runs a step whose output is of no interest unless it fails.
quietly() {
    "$@" >"$cache/install.log" 2>&1 && return
    tail -n 20 "$cache/install.log" >&2
    return 1
}

# The first of the files that exists.
first_of() { local file; for file in "$@"; do [[ ! -r $file ]] || { echo "$file"; return 0; }; done; return 1; }
# Debian's archive key, with which apt checks what it fetches.
keyring() { first_of /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; }

update_index() { quietly apt-get update || die 'apt-get update failed, see above: check the network and /etc/apt'; }

# The mirror that this machine's own sources name, in whichever of their formats.
# shellcheck disable=SC2016 # apt-get expands it
debian_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p
}

# open_suite SUITE FOLDER: reads the suite's index into the folder, beside the machine's own, which stays as it is; only
# its mirror and proxy settings are used. Sets own, for apt-get and apt-cache.
open_suite() {
    local suite=$1 work=$2 mirror
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || { update_index; mirror=$(debian_mirror); }
    [[ -n $mirror ]] || die "this machine's apt sources name no mirror of Debian to fetch $suite from: add one"
    keyring >/dev/null || quietly apt-get install -y debian-archive-keyring ||
        die 'apt-get install debian-archive-keyring failed, see above'
    mkdir -p "$work"/{state/lists/partial,cache/archives/partial,empty}
    echo "deb [arch=amd64 target=Packages lang=none signed-by=$(keyring)] $mirror $suite main" >"$work/sources.list"
    own=(-o "Dir::State=$work/state" -o Dir::State::status=/dev/null -o "Dir::Cache=$work/cache"
        -o "Dir::Etc::sourcelist=$work/sources.list" -o "Dir::Etc::sourceparts=$work/empty"
        -o "Dir::Etc::preferences=$work/none" -o "Dir::Etc::preferencesparts=$work/empty"
        -o APT::Sandbox::User=root -o APT::Architecture=amd64 -o APT::Update::Error-Mode=any)
    quietly apt-get "${own[@]}" update || die "cannot read $suite from $mirror, see above. If its signature cannot be \
checked (NO_PUBKEY): apt-get install a newer debian-archive-keyring"
}

# unpack_packages FOLDER PACKAGE...: fetches packages of the suite that was opened, and unpacks them into the folder.
unpack_packages() {
    local folder=$1 fetched package
    shift
    fetched=$(mktemp -d "$cache/packages.XXXXXX")
    (cd "$fetched" && quietly apt-get "${own[@]}" download "$@") || { rm -rf "$fetched"; die "fetching $* failed, see above"; }
    mkdir -p "$folder"
    for package in "$fetched"/*.deb; do dpkg-deb -x "$package" "$folder"; done
    rm -rf "$fetched"
}
