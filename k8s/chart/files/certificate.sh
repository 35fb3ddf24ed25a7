set -eu
umask 077
cd /etc/ray/tls
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=stageline" -keyout tls.key -out tls.csr
openssl x509 -req -in tls.csr -out tls.crt -days 397 -sha256 -CA /etc/ca/tls.crt -CAkey /etc/ca/tls.key \
  -set_serial "0x$(openssl rand -hex 16)" -extfile /dev/stdin <<EXTENSIONS
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectAltName = DNS:localhost, DNS:$FQ_RAY_IP, IP:127.0.0.1, IP:$POD_IP
EXTENSIONS
cat /etc/ca/tls.crt > ca.crt
rm tls.csr
