# Completion of jai for fish. jai itself knows what fits.

function __jai_complete
    set -l words (commandline -opc)[2..-1]
    set -l current (commandline -ct)
    set -l plain (string unescape -- (string replace -r '^["\']' '' -- $current))
    set -l found (command jai --complete $words "$plain" 2>/dev/null)

    if string match -q \t'*' -- $found[1]
        set -l first (math (string split ' ' -- $found[1])[-1] + 1)
        complete -C (string join ' ' -- (string escape -- $words[$first..-1]) $current)
    else if set -q found[1]
        printf '%s\n' $found
    else if string match -qr '[$~]' -- $current
        # $HOME/x and ~user/x: fish knows what they stand for.
        complete -C "'' $current"
    end
end

complete -c jai -f -a '(__jai_complete)'
