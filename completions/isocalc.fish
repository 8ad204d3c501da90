# Completion of isocalc in fish.
function _isocalc_completion
    set -l word (commandline -ct)
    set -l prefix (string match -r -- '^--[^=]+=' $word)
    for completion in (env _ISOCALC_COMPLETE=fish_complete COMP_WORDS=(commandline -cp) \
            COMP_CWORD=(commandline -ct) isocalc 2>/dev/null)
        set -l parts (string split -m 1 , -- $completion)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo -- "$prefix$parts[2]"
        end
    end
end

complete --no-files --command isocalc --arguments "(_isocalc_completion)"
