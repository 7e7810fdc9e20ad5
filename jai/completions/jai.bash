# shellcheck shell=bash
# Completion of jai for bash, 4.4 or newer. jai itself knows what fits.

_jai() {
	local line=${COMP_LINE:0:COMP_POINT} rest word typed cut i
	local -a words=() starts=() found=()

	# Bash cuts words at = and :, so put them together again. What lies behind the cursor does not count.
	for ((i = 0; i <= COMP_CWORD; i++)); do
		rest=${line#"${line%%[![:blank:]]*}"}
		word=${COMP_WORDS[i]}
		if ((i == COMP_CWORD)); then word=$rest; fi
		if [[ ${#words[@]} -gt 0 && $rest == "$line" ]]; then
			words[-1]+=$word
		else
			words+=("$word")
			starts+=("$i")
		fi
		line=${rest#"$word"}
	done
	typed=${words[-1]}
	words=("${words[@]//[\\\"\']/}")

	mapfile -t found < <(command jai --complete "${words[@]:1}" 2>/dev/null)
	if [[ ${found[0]-} == $'\t'* ]]; then
		i=${starts[${found[0]##* } + 1]}
		if declare -F _comp_command_offset >/dev/null; then
			_comp_command_offset "$i"
		elif declare -F _command_offset >/dev/null; then
			_command_offset "$i"
		else
			compopt -o bashdefault -o default
		fi
		return
	fi
	if [[ ${#found[@]} -eq 0 ]]; then
		# $HOME/x and ~user/x: bash knows what they stand for.
		if [[ $typed == *[\$~]* ]]; then compopt -o bashdefault -o default; fi
		return
	fi

	# Bash replaces only what follows the last = or :, and quotes nothing but file names.
	cut=
	if [[ $typed != [\"\']* ]]; then
		cut=${words[-1]%"${words[-1]##*[=:]}"}
		typed=${typed##*[=:]}
	fi
	for word in "${found[@]}"; do
		printf -v word %q "${word#"$cut"}"
		COMPREPLY+=("${word/#\\~/\~}")
	done
	if [[ $typed == [\"\']* ]]; then
		# Only as a file name may the word go on behind a directory, without the closing quote.
		compopt -o filenames
		COMPREPLY=("${found[@]%/}")
	fi
	if [[ ${#found[@]} -eq 1 && ${found[0]} == *[/=] ]]; then compopt -o nospace; fi
}
complete -F _jai jai
