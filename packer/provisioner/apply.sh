# Applies the archive $1, made from a Butane file, to the machine it runs on.
set -eu
umask 022
archive=$1
trap 'rm -f "$archive" "$0"' EXIT
tab=$(printf '\t')
fail() { echo "cannot put $1: $2" >&2; exit 1; }

# Nothing is written before all is known to fit.
while IFS=$tab read -r kind path target; do
  [ -n "$kind" ] || continue
  dir=${path%/*}
  [ -z "$dir" ] || [ ! -e "$dir" ] || [ "$(readlink -f "$dir")" = "$dir" ] ||
    fail "$path" "$dir leads elsewhere, to $(readlink -f "$dir")"
  [ -e "$path" ] || [ -L "$path" ] || continue
  case $kind in
    directory) [ -d "$path" ] && [ ! -L "$path" ] || fail "$path" "what is there is no directory" ;;
    file) fail "$path" "a file is there already and overwrite is not said" ;;
    link) [ "$(readlink "$path")" = "$target" ] || fail "$path" "something is there already and overwrite is not said" ;;
    replace) [ ! -d "$path" ] || [ -L "$path" ] || fail "$path" "a directory is there" ;;
  esac
done <<'EOF'
@PATHS@
EOF

# Users come first: the archive names owners, the machine has the numbers.
tar --list --file="$archive" | grep -E '^(usr/lib|etc)/sysusers\.d/.*\.conf$' >"$archive.users" || :
if [ -s "$archive.users" ]; then
  tar --extract --file="$archive" --directory=/ --files-from="$archive.users" --same-permissions --unlink-first
  systemd-sysusers
fi
rm -f "$archive.users"
while IFS=$tab read -r database name; do
  [ -z "$database" ] || getent "$database" "$name" >/dev/null ||
    fail "files of $name" "the machine has no such name in $database; declare it in a sysusers.d file"
done <<'EOF'
@OWNERS@
EOF

tar --extract --file="$archive" --directory=/ --same-owner --same-permissions --unlink-first

while read -r unit; do
  [ -z "$unit" ] || systemctl --quiet preset "$unit"
done <<'EOF'
@UNITS@
EOF
