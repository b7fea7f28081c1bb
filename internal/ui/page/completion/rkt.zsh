#compdef rkt
# zsh completion for rkt: rkt completion zsh > "${fpath[1]}/_rkt"
_rkt() {
	local -a answer described plain
	local line last
	answer=("${(@f)$(_call_program rkt "${(q)words[1]}" __complete "${(@q)words[2,CURRENT]}" 2>/dev/null)}")
	(( $#answer )) || return 1
	last=$answer[-1]
	answer[-1]=()
	for line in $answer; do
		# _describe takes "word:what it is", with the word's own colons escaped.
		line="${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}"
		if [[ ${line%%:*} == *= ]]; then
			described+=("$line")
		else
			plain+=("$line")
		fi
	done
	(( $#plain )) && _describe -t words rkt plain
	(( $#described )) && _describe -t flags rkt described -S ''
	if [[ $last == :files ]]; then
		compset -P '*='
		_files
	fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
	_rkt "$@"
else
	compdef _rkt rkt
fi
