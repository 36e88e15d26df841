# Runs under the interpreter that the job names; set -eu came with it.
target="$HOME/dumps/shop-$(date +%F).dump"
mkdir -p "$(dirname "$target")"
pg_dump --format=custom --file="$target.part" shop
mv "$target.part" "$target"
ls -l "$target"
