# bash completion for rkt: source <(rkt completion bash)
_rkt() {
	local line=${COMP_LINE:0:COMP_POINT} answer last cut
	local -a words candidates=()
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	local current=${words[-1]}
	mapfile -t answer < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
	[[ ${#answer[@]} -gt 0 ]] || return 0
	last=${answer[-1]}
	unset 'answer[-1]'
	# readline only replaces what follows the last of its word breaks.
	cut=
	case $current in
	*:*) [[ $COMP_WORDBREAKS == *:* ]] && cut=${current%"${current##*[:=]}"} ;;
	*=*) [[ $COMP_WORDBREAKS == *=* ]] && cut=${current%"${current##*=}"} ;;
	esac
	local candidate
	for candidate in "${answer[@]}"; do
		candidate=${candidate%%$'\t'*}
		candidates+=("$(printf %q "${candidate#"$cut"}")")
	done
	COMPREPLY=("${candidates[@]}")
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
	if [[ $last == :files ]]; then
		compopt -o default
	fi
	return 0
}
complete -F _rkt rkt
