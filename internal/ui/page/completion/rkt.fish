# fish completion for rkt: rkt completion fish > ~/.config/fish/completions/rkt.fish
function __rkt_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l answer ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    test (count $answer) -gt 0; or return
    if test (count $answer) -gt 1
        printf '%s\n' $answer[1..-2]
    end
    if test "$answer[-1]" = ':files'
        # A file after --flag= is completed by itself.
        set -l flag (string match -r -- '^--[^=]*=' "$current")
        for path in (__fish_complete_path (string replace -- "$flag" '' "$current"))
            printf '%s\n' "$flag$path"
        end
    end
end
complete -c rkt -f -a '(__rkt_complete)'
