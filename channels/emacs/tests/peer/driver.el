;;; driver.el --- What the tests ask a running Emacs  -*- lexical-binding: t; -*-

(defun driver-reply (file value)
  "Write VALUE as JSON into FILE."
  (let ((coding-system-for-write 'utf-8-unix))
    (with-temp-file file (insert (decode-coding-string (json-serialize value) 'utf-8)))))

(defun driver-files (begin end)
  "Paths of the files shown between BEGIN and END."
  (let (paths (at begin))
    (while (and at (< at end))
      (let ((path (get-text-property at 'nanoclaw-path)))
        (when path (push path paths)))
      (setq at (next-single-property-change at 'nanoclaw-path nil end)))
    (vconcat (nreverse paths))))

(defun driver-buttons (begin end)
  "Labels of the answers between BEGIN and END."
  (let (labels (at begin) button)
    (while (and (setq button (next-button at (= at begin))) (< (button-start button) end))
      (unless (button-get button 'nanoclaw-path)
        (push (replace-regexp-in-string "\\`\\[[0-9]+\\] " "" (button-label button)) labels))
      (setq at (button-end button)))
    (vconcat (nreverse labels))))

(defun driver-shown ()
  "Every message of the agent in the buffer."
  (with-current-buffer (nanoclaw--chat-buffer)
    (let (all (at (point-min)))
      (while at
        (let ((id (get-text-property at 'nanoclaw-id))
              (next (next-single-property-change at 'nanoclaw-id)))
          (when id
            (let ((end (or next (point-max))))
              (push (list :id (symbol-name id)
                          :text (buffer-substring-no-properties at end)
                          :files (driver-files at end)
                          :buttons (driver-buttons at end))
                    all)))
          (setq at next)))
      (vconcat (nreverse all)))))

(defun driver-reactions ()
  "Every reaction in the buffer."
  (with-current-buffer (nanoclaw--chat-buffer)
    (let (all (at (point-min)))
      (while at
        (let ((about (get-text-property at 'nanoclaw-about))
              (next (next-single-property-change at 'nanoclaw-about)))
          (when about
            (push (list :id about
                        :text (buffer-substring-no-properties at (or next (point-max))))
                  all))
          (setq at next)))
      (vconcat (nreverse all)))))

(defun driver-click (id label)
  "Push the button LABEL of the message ID."
  (with-current-buffer (nanoclaw--chat-buffer)
    (let* ((there (nanoclaw--find id)) (at (car there)) button done)
      (while (and (not done) (setq button (next-button at (= at (car there)))))
        (if (string-suffix-p (concat "] " label) (button-label button))
            (progn (button-activate button) (setq done t))
          (setq at (button-end button))))
      (if done t (error "No button %s" label)))))
