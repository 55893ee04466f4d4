;;; nanoclaw.el --- Chat with your NanoClaw agents in a buffer  -*- lexical-binding: t; -*-

;; Version: 1.0
;; Package-Requires: ((emacs "27.1"))
;; Keywords: comm

;;; Commentary:

;; `nanoclaw-chat' opens the chat: write below the line, RET sends.
;; `nanoclaw-send-region' asks about the region, which goes along.
;; `nanoclaw-send-file' sends a file.
;; Questions have buttons; typing the number of an answer works too.
;;
;; The host listens on the loopback (channel `emacs').  Tell where its
;; install is, for the token:
;;
;;   (setq nanoclaw-directory "~/nanoclaw")

;;; Code:

(require 'seq)
(require 'subr-x)
(require 'url)
(require 'url-http)

(defgroup nanoclaw nil "Chat with NanoClaw agents." :group 'comm)

(defcustom nanoclaw-directory "~/nanoclaw"
  "Where NanoClaw is installed."
  :type 'directory)

(defcustom nanoclaw-url "http://127.0.0.1:8766"
  "Where the channel listens."
  :type 'string)

(defcustom nanoclaw-token nil
  "The token, if it is not the one in the install's data folder."
  :type '(choice (const :tag "From the install" nil) string))

(defcustom nanoclaw-file-max (* 32 1024 1024)
  "Largest file that is sent, in bytes."
  :type 'integer)

(defface nanoclaw-me '((t :inherit font-lock-keyword-face :weight bold))
  "Who you are.")
(defface nanoclaw-agent '((t :inherit font-lock-function-name-face :weight bold))
  "Who the agent is.")
(defface nanoclaw-note '((t :inherit shadow))
  "What is neither said by you nor by the agent.")

(defconst nanoclaw-buffer "*NanoClaw*")
(defvar nanoclaw--since 0 "The time of the last entry that was read.")
(defvar nanoclaw--outbox nil "What is to be sent, the oldest first.")
(defvar nanoclaw--sending nil "Whether the first of the outbox is on its way.")
(defvar nanoclaw--reading nil "The buffer of the call that waits for news.")
(defvar nanoclaw--wait 1 "Seconds until the next attempt.")
(defvar nanoclaw--timer nil)
(defvar nanoclaw--state nil "How the line is, in a word.")
(defvar nanoclaw--typing nil "Whether the agent types.")
(defvar-local nanoclaw--input nil "Where what is being written begins.")

;;; Calls

(defun nanoclaw--token ()
  "The token, without which the host does not listen."
  (or nanoclaw-token
      (let ((file (expand-file-name "data/channels/emacs/token" nanoclaw-directory)))
        (unless (file-readable-p file)
          (user-error "No token: set `nanoclaw-directory' to the install, or `nanoclaw-token'"))
        (with-temp-buffer
          (insert-file-contents file)
          (string-trim (buffer-string))))))

(defun nanoclaw--call (method path body then)
  "Call PATH by METHOD with BODY, an object or nil; then call THEN.
THEN gets the HTTP status, or nil if nobody was reached, and the answer."
  (let ((url-request-method method)
        (url-request-extra-headers
         `(("Authorization" . ,(concat "Bearer " (nanoclaw--token)))
           ("Content-Type" . "application/json")))
        (url-request-data (and body (encode-coding-string (json-serialize body) 'utf-8)))
        (url-show-status nil))
    (url-retrieve
     (concat nanoclaw-url path)
     (lambda (_status)
       (let ((code (bound-and-true-p url-http-response-status))
             (answer (ignore-errors
                       (goto-char (symbol-value 'url-http-end-of-headers))
                       (json-parse-string
                        (decode-coding-string
                         (buffer-substring-no-properties (point) (point-max)) 'utf-8)
                        :object-type 'plist :array-type 'list
                        :null-object nil :false-object nil)))
             (buffer (current-buffer)))
         (unwind-protect (funcall then code answer)
           (kill-buffer buffer))))
     nil t t)))

(defun nanoclaw--later (work)
  "Do WORK in a while, each time later, and say that the line is down."
  (nanoclaw--say-state "not connected")
  (when (timerp nanoclaw--timer) (cancel-timer nanoclaw--timer))
  (setq nanoclaw--timer (run-at-time nanoclaw--wait nil work)
        nanoclaw--wait (min 30 (* 2 nanoclaw--wait))))

(defun nanoclaw--say-state (state)
  "Show STATE in the mode line."
  (setq nanoclaw--state state)
  (force-mode-line-update t))

(defun nanoclaw--go ()
  "Send what is to be sent, and read what there is."
  (nanoclaw--send)
  (nanoclaw--read))

(defun nanoclaw--send ()
  "Send the oldest of the outbox; the others follow."
  (when (and nanoclaw--outbox (not nanoclaw--sending))
    (setq nanoclaw--sending t)
    (let ((next (car nanoclaw--outbox)))
      (nanoclaw--call
       "POST" (plist-get next :path) (plist-get next :body)
       (lambda (code answer)
         (setq nanoclaw--sending nil)
         (cond
          ;; Not taken, or nobody there yet (404): it stays the first, so that the order is kept.
          ((or (null code) (>= code 500) (memq code '(404 408 429)))
           (nanoclaw--later #'nanoclaw--go))
          (t
           (setq nanoclaw--outbox (cdr nanoclaw--outbox))
           (cond
            ((>= code 400)
             (nanoclaw--note (format "Not sent: %s" (or (plist-get answer :error) code))))
            ((plist-get answer :refused)
             (nanoclaw--note (format "Not taken: %s" (plist-get answer :refused)))))
           (nanoclaw--send))))))))

(defun nanoclaw--post (path body)
  "Put a call of PATH with BODY into the outbox."
  (setq nanoclaw--outbox (append nanoclaw--outbox (list (list :path path :body body))))
  (nanoclaw--send))

(defun nanoclaw--read ()
  "Wait for news, and then again."
  (unless (buffer-live-p nanoclaw--reading)
    (setq nanoclaw--reading
          (nanoclaw--call
           "GET" (format "/api/messages?since=%d&wait=%d" nanoclaw--since
                         (if nanoclaw--state 25 0))
           nil
           (lambda (code answer)
             (setq nanoclaw--reading nil)
             (cond
              ((eql code 200)
               (setq nanoclaw--wait 1)
               (setq nanoclaw--typing (plist-get answer :typing))
               (nanoclaw--say-state (if nanoclaw--typing "typing" "connected"))
               (dolist (entry (plist-get answer :messages))
                 (with-demoted-errors "NanoClaw: %S" (nanoclaw--show entry))
                 (setq nanoclaw--since
                       (max nanoclaw--since (plist-get entry :timestamp))))
               (nanoclaw--send)
               ;; Not from within a callback, so that calls do not nest.
               (run-at-time 0 nil #'nanoclaw--read))
              ((eql code 401)
               (nanoclaw--say-state "wrong token")
               (nanoclaw--note (plist-get answer :error)))
              (t (nanoclaw--later #'nanoclaw--go))))))))

;;; The buffer

(defvar nanoclaw-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "RET") #'nanoclaw-return)
    (define-key map (kbd "C-j") #'newline)
    (define-key map (kbd "TAB") #'forward-button)
    map))

(define-derived-mode nanoclaw-mode text-mode "NanoClaw"
  "A chat with an agent.  RET sends what stands below the line, C-j breaks a line."
  (setq mode-line-process '(" [" (:eval (or nanoclaw--state "…")) "]"))
  (visual-line-mode 1)
  (let ((inhibit-read-only t))
    (insert (propertize "─────\n" 'read-only t 'front-sticky t 'rear-nonsticky t
                        'face 'nanoclaw-note 'nanoclaw-line t)))
  (setq nanoclaw--input (point-marker)))

(defun nanoclaw--chat-buffer ()
  "The buffer of the chat, made if need be."
  (let ((buffer (get-buffer-create nanoclaw-buffer)))
    (with-current-buffer buffer
      (unless (derived-mode-p 'nanoclaw-mode) (nanoclaw-mode)))
    buffer))

(defun nanoclaw--insert (text)
  "Insert TEXT, which may have properties, above the line."
  (with-current-buffer (nanoclaw--chat-buffer)
    (let ((inhibit-read-only t))
      (save-excursion
        (goto-char nanoclaw--input)
        (forward-line -1)
        (let ((begin (point)))
          (insert text "\n")
          (add-text-properties begin (point) '(read-only t front-sticky t)))))))

(defun nanoclaw--note (text &optional about)
  "Insert TEXT as a note, which may be ABOUT a message."
  (nanoclaw--insert
   (propertize (format "[%s]" text) 'face 'nanoclaw-note 'nanoclaw-about about)))

(defun nanoclaw--block (entry)
  "What ENTRY looks like."
  (let* ((id (plist-get entry :id))
         (question (plist-get entry :question))
         (number 0)
         (options
          (mapconcat
           (lambda (option)
             (setq number (1+ number))
             (let ((n number))
               (concat "  " (make-text-button
                             (format "[%d] %s" n (plist-get option :label)) nil
                             'action (lambda (_) (nanoclaw--answer question n))
                             'follow-link t))))
           (and question (plist-get entry :options)) "\n"))
         (files (mapconcat
                 (lambda (file)
                   (let ((path (plist-get file :path)))
                     (concat "  " (make-text-button
                                   (format "[file: %s]" (plist-get file :name)) nil
                                   'action (lambda (_) (find-file path))
                                   'nanoclaw-path path
                                   'follow-link t))))
                 (plist-get entry :files) "\n")))
    (propertize
     (string-join
      (seq-remove #'string-empty-p
                  (list (concat (propertize "Agent: " 'face 'nanoclaw-agent)
                                (plist-get entry :text))
                        options files))
      "\n")
     ;; A symbol: text properties are looked for by `eq'.
     'nanoclaw-id (intern id))))

(defun nanoclaw--find (id)
  "Where the message ID stands: begin and end, or nil."
  (save-excursion
    (goto-char (point-min))
    (let ((begin (text-property-any (point-min) (point-max) 'nanoclaw-id (intern id))))
      (and begin
           (cons begin (or (next-single-property-change begin 'nanoclaw-id) (point-max)))))))

(defun nanoclaw--show (entry)
  "Show ENTRY: a message, a new text for one, or a reaction."
  (with-current-buffer (nanoclaw--chat-buffer)
    (let* ((kind (plist-get entry :kind))
           (there (nanoclaw--find (plist-get entry :id)))
           (inhibit-read-only t))
      (cond
       ((equal kind "react")
        (nanoclaw--note (format "the agent reacts with %s" (plist-get entry :text))
                        (plist-get entry :id)))
       ((and there (equal kind "edit"))
        (save-excursion
          (goto-char (car there))
          (delete-region (car there) (cdr there))
          (let ((begin (point)))
            (insert (nanoclaw--block entry))
            (add-text-properties begin (point) '(read-only t front-sticky t)))))
       ;; What is there already is not shown again.
       ((not there) (nanoclaw--insert (nanoclaw--block entry)))))))

;;; Commands

(defun nanoclaw--id ()
  "A new id of a message."
  (format "emacs-%s-%06x" (format-time-string "%s%N") (random #x1000000)))

(defun nanoclaw--say (text &optional files)
  "Say TEXT with FILES; return the id."
  (let ((id (nanoclaw--id)))
    (nanoclaw--insert (concat (propertize "You: " 'face 'nanoclaw-me) text))
    (nanoclaw--post "/api/message" `(:id ,id :text ,text :files ,(vconcat files)))
    id))

(defun nanoclaw--answer (question number)
  "Answer QUESTION with option NUMBER."
  (nanoclaw--post "/api/answer" `(:question ,question :option ,number)))

(defun nanoclaw-return ()
  "Send what stands below the line, or push the button at point."
  (interactive)
  (if (and (button-at (point)) (< (point) nanoclaw--input))
      (push-button)
    (let ((text (string-trim (buffer-substring-no-properties nanoclaw--input (point-max)))))
      (unless (string-empty-p text)
        (delete-region nanoclaw--input (point-max))
        (goto-char (point-max))
        (nanoclaw--say text)))))

;;;###autoload
(defun nanoclaw-chat ()
  "Open the chat."
  (interactive)
  (pop-to-buffer (nanoclaw--chat-buffer))
  (goto-char (point-max))
  (nanoclaw--go))

;;;###autoload
(defun nanoclaw-send-region (begin end question)
  "Send the region from BEGIN to END with a QUESTION about it."
  (interactive "r\nsAbout the region: ")
  (let* ((text (buffer-substring-no-properties begin end))
         (fence (if (string-match-p "```" text) "````" "```"))
         (where (format "%s, lines %d-%d"
                        (or (buffer-file-name) (buffer-name))
                        (line-number-at-pos begin) (line-number-at-pos end))))
    (nanoclaw--chat-buffer)
    (nanoclaw--say (format "%s\n\n%s:\n%s\n%s\n%s" question where fence text fence))
    (nanoclaw--read)))

;;;###autoload
(defun nanoclaw-send-file (file text)
  "Send FILE with TEXT."
  (interactive "fFile: \nsText: ")
  (let ((small (<= (file-attribute-size (file-attributes file)) nanoclaw-file-max)))
    (nanoclaw--chat-buffer)
    (nanoclaw--say
     text
     (list (append
            (list :name (file-name-nondirectory file))
            (and small
                 (list :data (with-temp-buffer
                               (set-buffer-multibyte nil)
                               (insert-file-contents-literally file)
                               (base64-encode-region (point-min) (point-max) t)
                               (buffer-string)))))))
    (nanoclaw--read)))

(defun nanoclaw-stop ()
  "Read no more; what is said meanwhile waits at the host."
  (interactive)
  (when (timerp nanoclaw--timer) (cancel-timer nanoclaw--timer))
  (when (buffer-live-p nanoclaw--reading)
    (let ((process (get-buffer-process nanoclaw--reading)))
      (when process (set-process-sentinel process #'ignore) (delete-process process)))
    (kill-buffer nanoclaw--reading))
  (setq nanoclaw--reading nil)
  (nanoclaw--say-state "stopped"))

(provide 'nanoclaw)
;;; nanoclaw.el ends here
