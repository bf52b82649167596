#!/bin/sh
# Makes the prompts of audio/prompts/ from the texts beside this script.
#
#   ./make-prompts.sh            all prompts
#   ./make-prompts.sh nl fr      those languages only
#   OUT=/tmp/p ./make-prompts.sh into another folder
#
# It needs espeak-ng (the voice) and sox (the telephone sound), both in Debian,
# and installs nothing itself. The result is RIFF WAVE, 16-bit PCM, mono,
# 8 kHz, telephone band, peak at -3 dB, a short silence before (the media path
# of a call opens a moment after its signalling) and after.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
texts=$here/texts
out=${OUT:-$here/../../audio/prompts}

missing=
for tool in espeak-ng sox; do
	command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
if [ -n "$missing" ]; then
	echo "make-prompts: not installed:$missing" >&2
	echo "make-prompts: on Debian: apt-get install$missing" >&2
	exit 1
fi

# The voice of a language, and its speed in words a minute: a telephone needs
# slower speech than espeak-ng's default of 175.
voice() {
	case $1 in
	en) echo "en-gb-x-rp 165" ;;
	nl) echo "nl 165" ;;
	de) echo "de 170" ;;
	fr) echo "fr-fr 165" ;;
	es) echo "es 170" ;;
	it) echo "it 170" ;;
	*) return 1 ;;
	esac
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$out"

made=0
for text in "$texts"/*.txt; do
	name=$(basename "$text" .txt)
	lang=${name##*.}
	if [ $# -gt 0 ]; then
		wanted=
		for l in "$@"; do [ "$l" = "$lang" ] && wanted=1; done
		[ -n "$wanted" ] || continue
	fi
	if ! v=$(voice "$lang"); then
		echo "make-prompts: $text: no voice chosen for language \"$lang\": add it to voice() in this script" >&2
		exit 1
	fi
	espeak-ng -v "${v% *}" -s "${v#* }" -b 1 -f "$text" -w "$work/raw.wav"
	# Headroom first, so that neither resampling nor filtering can clip. Then
	# the telephone band, gentle compression (a synthetic voice is peaky, and
	# a quiet caller's handset is not), the level, and silence at both ends.
	# -D: no dither, so that the same tools give the same bytes.
	pad="0.25 0.3"
	# A warning in mid-call finds its media path open, and should be brief.
	[ "${name%.*}" = low_credit ] && pad="0.1 0.1"
	# shellcheck disable=SC2086 # pad is two words
	sox -D "$work/raw.wav" -b 16 -c 1 -e signed-integer "$work/prompt.wav" \
		gain -6 rate -v 8000 highpass 200 lowpass 3400 \
		silence 1 0.02 0.1% reverse silence 1 0.02 0.1% reverse \
		compand 0.01,0.15 6:-70,-70,-40,-30,-20,-16,0,-10 0 -90 0.05 \
		norm -3 pad $pad
	mv "$work/prompt.wav" "$out/$name.wav"
	made=$((made + 1))
	printf '%s\t%ss\n' "$name" "$(soxi -D "$out/$name.wav")"
done
if [ "$made" -eq 0 ]; then
	echo "make-prompts: nothing made: no text in $texts for: $*" >&2
	exit 1
fi
